"""The records of a study on the device that trains."""

import torch

from client.data.examples import Patients


class DeviceRecords:
    """A site's records on the training device."""

    def __init__(self, patients: Patients, device: torch.device) -> None:
        self.features = torch.from_numpy(patients.features).to(device)  # (records, inputs)
        self.labels = torch.from_numpy(patients.labels).to(device)  # (records,)
        self.patient = torch.from_numpy(patients.patient).to(device)  # (records,)
        self.patients = patients.patients
