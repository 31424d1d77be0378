"""Keep the radiographs of PneumoniaMNIST at three hospitals, each in a form of its own, for ``chest_pictures.yaml``.

    python examples/imaging/prepare_chest_hospitals.py pneumoniamnist.npz OUT

The file is what MedMNIST publishes: train_images, train_labels, val_images, val_labels, test_images and test_labels.
OUT gets a folder for each hospital, with the mapping that leads from its data to the study:

============  =======================================================================================================
hospital      its data
============  =======================================================================================================
table         PNG pictures of 8 bits, and a CSV table that names them
folders       TIFF pictures of 16 bits, in folders that are called like the finding
archive       DICOM files of 12 bits whose high numbers are dark (MONOCHROME1), and a table of findings
============  =======================================================================================================

Rules:

* the published train and val images are for training, the published test images for testing;
* an image that occurs twice is used once, at one hospital; hospitals have every third image;
* the published file does not tell whose an image is, so every image counts as a patient;
* names, dates and accession numbers in the DICOM files are made up.

Source: Yang et al. 2023, MedMNIST v2, Scientific Data 10:41.
"""

import argparse
import csv
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import PIL.Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

MAPPINGS: Final = Path(__file__).parent / "hospitals"
ROOT: Final = "1.2.826.0.1.3680043.10.99999"  # of identifiers that are made up
FINDINGS: Final = ("normal", "pneumonia")


class Radiograph(NamedTuple):
    """One image: 28 x 28 pixels of 8 bits."""

    number: int
    part: str
    finding: str
    pixels: Any

    @property
    def patient(self) -> str:
        """An identifier with leading zeros."""
        return f"{self.number:06}"


def read_radiographs(path: Path) -> list[Radiograph]:
    """Read the published file; images that occur twice once."""
    found, before = list[Radiograph](), set[bytes]()
    with np.load(path) as arrays:
        for part, names in (("train", ("train", "val")), ("test", ("test",))):
            for name in names:
                for pixels, label in zip(arrays[f"{name}_images"], arrays[f"{name}_labels"][:, 0], strict=True):
                    if pixels.tobytes() not in before:
                        before.add(pixels.tobytes())
                        found.append(Radiograph(len(found), part, FINDINGS[int(label)], pixels))
    return found


def write_table(folder: Path, images: Sequence[Radiograph]) -> None:
    """Write PNG pictures, and the table ``images.csv``."""
    (folder / "pictures").mkdir(parents=True)
    with (folder / "images.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(("Patient", "Bild", "Befund", "Teil"))
        for image in images:
            PIL.Image.fromarray(image.pixels).save(folder / "pictures" / f"{image.patient}.png")
            finding = {"normal": "o.B.", "pneumonia": "Pneumonie"}[image.finding]
            writer.writerow((image.patient, f"{image.patient}.png", finding, image.part))


def write_folders(folder: Path, images: Sequence[Radiograph]) -> None:
    """Write TIFF pictures of 16 bits by finding."""
    for image in images:
        path = folder / image.part / image.finding / f"{image.patient}_pa.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image.pixels.astype(np.uint16) * 257).save(path, compression="tiff_lzw")


def write_archive(folder: Path, images: Sequence[Radiograph]) -> None:
    """Write DICOM files, and the table ``findings.csv`` by accession number."""
    (folder / "archive").mkdir(parents=True)
    with (folder / "findings.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("accession", "finding", "part"))
        for image in images:
            path = folder / "archive" / f"2024-{1 + image.number % 12:02}" / f"I{image.number:05}"
            path.parent.mkdir(exist_ok=True)
            make_dicom(image).save_as(path, enforce_file_format=True)
            writer.writerow((f"A{image.number}", image.finding, image.part))


def make_dicom(image: Radiograph) -> Dataset:
    """Make the DICOM file of an image."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.1.{image.number}"
    dataset.SeriesInstanceUID = f"{ROOT}.2.{image.number}"
    dataset.Modality, dataset.InstanceNumber = "CR", 1
    dataset.PatientName, dataset.PatientID = f"Made^Up {image.number}", image.patient
    dataset.AccessionNumber = f"A{image.number}"
    dataset.Rows, dataset.Columns = image.pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dark_is_high = 4095 - np.round(image.pixels.astype(float) * 4095 / 255).astype("<u2")
    dataset.PixelData = dark_is_high.astype("<u2").tobytes()
    return dataset


HOSPITALS: Final[dict[str, Callable[[Path, Sequence[Radiograph]], None]]] = {
    "table": write_table,
    "folders": write_folders,
    "archive": write_archive,
}


def main() -> None:
    """Read the file and write the folders of the hospitals."""
    parser = argparse.ArgumentParser(description="Make three hospitals from PneumoniaMNIST.")
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    images = read_radiographs(asked.file)
    for place, (name, write) in enumerate(HOSPITALS.items()):
        write(asked.out / name, images[place :: len(HOSPITALS)])
        shutil.copy(MAPPINGS / f"chest-{name}.yaml", asked.out / name / "mapping.yaml")


if __name__ == "__main__":
    main()
