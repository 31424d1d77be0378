"""Measure the conversion of image files: files a second, and memory, which must not grow with their number.

``python -m benchmarks.image_conversion [--json] [--images N] [--folder FOLDER]``. Pictures of 32 x 32 pixels are
written as PNG, DICOM (JPEG-LS) and NIfTI files. A process of its own for each form, and for a quarter of the files,
converts them by a mapping to a snapshot, as ``data add`` does.

* ``images_s``: images a second of processor time, from finding the files to the snapshot's last byte.
* ``before_mb``: the process's resident size in MiB before; ``peak_mb``: its largest one.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import yaml

from benchmarks.memory import read_status_mb
from privacy.command_line import print_json, print_table, say
from privacy.study.data.images import ImagesContract

_FORMS: Final = ("png", "dicom", "nifti")
_SIDE: Final = 32
_SYNTAX: Final = "1.2.840.10008.1.2.4.80"  # JPEG-LS, lossless


@click.command()
@click.option("--images", default=100_000, show_default=True, type=click.IntRange(100))
@click.option("--form", "forms", multiple=True, type=click.Choice(_FORMS), help="Only this one; repeat.")
@click.option("--folder", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Of the files.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--use", hidden=True, type=click.Path(path_type=Path), help="A folder with images, in this process.")
def main(images: int, forms: tuple[str, ...], folder: Path | None, as_json: bool, use: Path | None) -> None:
    """Measure the conversion of image files in each form."""
    if use is not None:
        print_json(convert(use))
        return
    results = list[dict[str, Any]]()
    for form in forms or _FORMS:
        for count in (images // 4, images):
            with tempfile.TemporaryDirectory(dir=folder) as made:
                write_images(Path(made), form, count)
                say(f"{form}: {count} images")
                command = [sys.executable, "-m", "benchmarks.image_conversion", "--use", made]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
                results.append({"form": form, "images": count, **json.loads(done.stdout)})
    if as_json:
        print_json({"image_conversion": results})
        return
    shown = [[each["form"], *(f"{each[name]:.0f}" for name in _COLUMNS)] for each in results]
    print_table(("form", "images", "images/s", "before MiB", "peak MiB"), shown)


_COLUMNS: Final = ("images", "images_s", "before_mb", "peak_mb")


def convert(folder: Path) -> dict[str, float]:
    """Convert the images in ``folder``, in this process."""
    from client.data.conversion.convert import convert_to

    form = (folder / "form").read_text()
    before, begin = read_status_mb("VmRSS"), time.process_time()
    made = folder / "made"
    made.mkdir()
    report = convert_to(_make_contract(form), folder / "mapping.yaml", made, 0.0)
    seconds = time.process_time() - begin
    records = report.training + report.test
    return {"images_s": records / seconds, "before_mb": before, "peak_mb": read_status_mb("VmHWM")}


def write_images(folder: Path, form: str, count: int) -> None:
    """Write images and the mapping of them; a thousand in each folder."""
    draws = np.random.default_rng(0)
    for number in range(count):
        path = folder / "images" / f"{number // 1000:04}"
        path.mkdir(parents=True, exist_ok=True)
        _write_image(path, form, number, draws.integers(0, 255, (_SIDE, _SIDE), dtype=np.uint8, endpoint=True))
    ending = {"png": "png", "nifti": "nii.gz"}.get(form)
    source = {"kind": "dicom", "folder": "images"}
    if ending is not None:
        source = {"kind": "files", "pattern": f"images/{{group}}/{{PatientID}}.{ending}"}
    mapping = {"mapping": 1, "contract": "bench", "source": source, "columns": {"patient": "PatientID"}}
    (folder / "mapping.yaml").write_text(yaml.safe_dump(mapping), encoding="utf-8")
    (folder / "form").write_text(form)


def _make_contract(form: str) -> ImagesContract:
    image: dict[str, Any] = {"height": _SIDE, "width": _SIDE, "values": {"kind": "full-range"}, "resize": "pad"}
    if form == "nifti":
        image |= {"depth": 1, "orientation": "SAR"}
    return ImagesContract.model_validate(
        {"kind": "images", "name": "bench", "ranges_from": "Bits.", "images": [image]}
    )


def _write_image(folder: Path, form: str, number: int, pixels: Any) -> None:
    name = f"P{number:08}"
    match form:
        case "png":
            import PIL.Image

            PIL.Image.fromarray(pixels).save(folder / f"{name}.png")
        case "nifti":
            import nibabel

            nibabel.save(nibabel.Nifti1Image(pixels.T[:, :, None], np.eye(4)), folder / f"{name}.nii.gz")
        case _:
            _make_dicom(name, number, pixels).save_as(folder / f"I{number}", enforce_file_format=True)


def _make_dicom(name: str, number: int, pixels: Any) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID = f"1.2.3.{number}", f"1.2.4.{number}"
    dataset.PatientID, dataset.Modality = name, "CR"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = pixels.tobytes()
    dataset.compress(_SYNTAX)
    return dataset


if __name__ == "__main__":
    main()
