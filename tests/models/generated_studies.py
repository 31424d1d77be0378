"""Studies and records of any model of the catalogue, for the tests: small, generated, the same in every run."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from client.data.examples import Patients
from client.data.site_data import read_data
from client.training.device_records import DeviceRecords
from models.fit import build_study_module
from models.generated.records import generate_records, write_records
from models.generated.study import write_generated_study
from models.parameters.flatten import set_shared_parameters
from models.parameters.initial import draw_initial_shared_parameters
from privacy.study import ArraysContract, Terms, parse_terms

RECORDS = 3  # of a patient, at most
DEVICE = torch.device(os.environ.get("CONSILIUM_TEST_DEVICE", "cpu"))


def generated_terms(name: str, task: str | None = None, **changes: Any) -> Terms:
    """Terms of a generated study; ``changes`` are merged into its sections."""
    distributed = changes.pop("distributed", False)
    value = write_generated_study(name, task, rounds=changes.pop("rounds", 2), distributed=distributed)
    value["data"]["records_per_patient"] = RECORDS
    for section, change in changes.items():
        value[section] = {**value.get(section, {}), **change}
    return parse_terms(value)


def write_generated_files(
    folder: Path, terms: Terms, seed: int, patients: int = 60, tests: int = 20, records: int = 1
) -> tuple[Path, Path]:
    """A training and a test file of generated patients."""
    contract = terms.data
    assert isinstance(contract, ArraysContract)
    paths = folder / "train.npz", folder / "test.npz"
    for place, (path, count) in enumerate(zip(paths, (patients, tests), strict=True)):
        found = generate_records(contract, count, 2 * seed + place, f"{folder.name}-{place}", records)
        write_records(path, found, contract.patient)
    return paths


@dataclass
class GeneratedSite:
    """A study's module with its first values, and the records of a site on the CPU."""

    terms: Terms
    module: nn.Module
    patients: Patients
    records: DeviceRecords


def generated_site(
    folder: Path,
    terms: Terms,
    patients: int = 6,
    records: int = RECORDS,
    device: torch.device = DEVICE,
    seed: int = 1,
) -> GeneratedSite:
    """A site of ``patients`` patients with ``records`` records each."""
    train, _ = write_generated_files(folder, terms, seed, patients, 1, records)
    found = read_data(terms.data, train).patients
    module = build_study_module(terms)
    set_shared_parameters(module, draw_initial_shared_parameters(module, terms.digest))
    return GeneratedSite(terms, module.to(device), found, DeviceRecords(found, terms, device))


def all_rows(site: GeneratedSite) -> NDArray[np.int64]:
    """The rows of all records."""
    return np.arange(site.records.records)
