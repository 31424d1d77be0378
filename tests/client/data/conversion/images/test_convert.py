"""A hospital's image files become the records of a contract, by its mapping: from table, paths and DICOM tags."""

import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pytest

from client.data.conversion.convert import convert_to
from client.data.conversion.report import SnapshotReport
from client.data.site_data import read_data
from privacy.errors import DataError, SiteConfigError
from privacy.study.data.images import ImagesContract
from tests.client.data.adapters.imaging.dicom_files import SECRET, draw, make_dicom, place, to_bytes, write

BINARY = {"kind": "binary", "name": "finding", "positive": ["yes"], "negative": ["no"]}
FULL = {"kind": "full-range"}


def make_contract(**more: Any) -> ImagesContract:
    image = {"height": 4, "width": 4, "values": FULL, "resize": "none"}
    return ImagesContract.model_validate(
        {"kind": "images", "name": "scans", "ranges_from": "Bits.", "images": [image], "label": BINARY} | more
    )


def convert(
    folder: Path, contract: ImagesContract, mapping: str, most: float = 0.5, *, with_targets: bool = True
) -> tuple[SnapshotReport, dict[str, Any], list[str]]:
    """Convert; return the report, the records of both files together, and the lines of the quarantine."""
    path = folder / "mapping.yaml"
    path.write_text(f"mapping: 1\ncontract: scans\n{mapping}", encoding="utf-8")
    out = folder / f"out-{len(list(folder.glob('out-*')))}"
    out.mkdir()
    report = convert_to(contract, path, out, most, with_targets=with_targets)
    arrays: dict[str, Any] = {}
    for file in sorted(out.glob("*.npz"), reverse=True):
        with np.load(file) as stored:
            for name in stored:
                arrays[name] = np.concatenate([arrays[name], stored[name]]) if name in arrays else stored[name]
    return report, arrays, (out / "quarantine.csv").read_text(encoding="utf-8").splitlines()[1:]


def save_picture(path: Path, pixels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


def test_table_names_the_picture_the_patient_the_label_and_the_columns_beside(tmp_path: Path) -> None:
    pixels = draw((3, 4, 4), "uint8", 0, 255)
    for number, each in enumerate(pixels):
        save_picture(tmp_path / "pictures" / f"{number}.png", each)
    (tmp_path / "images.csv").write_text(
        "Nr;Bild;Befund;Alter;sex\n007;0.png;ja;40,5;f\n8;1.png;nein;?;m\n9;2.png;ja;120;f\n", encoding="utf-8"
    )
    contract = make_contract(
        label={**BINARY, "positive": ["ja"], "negative": ["nein"]},
        features=[
            {"kind": "number", "name": "age", "low": 0, "high": 100},
            {"kind": "category", "name": "sex", "values": ["f", "m"]},
        ],
    )
    report, arrays, quarantine = convert(tmp_path, contract, """
source: {kind: table, source: {kind: csv, path: images.csv, delimiter: ";", decimal: ","}}
columns: {patient: Nr, finding: Befund, age: Alter}
images: {image: "pictures/{Bild}"}
""")  # fmt: skip
    order = np.argsort(arrays["patient"])
    assert arrays["patient"][order].tolist() == [b"007", b"8", b"9"]
    np.testing.assert_allclose(arrays["image"][order][:, 0], pixels / np.float32(255), rtol=1e-6)
    assert arrays["label"][order].tolist() == [1, 0, 1]
    # age scaled to [-1, 1] and clipped, its indicator, sex one-hot, its indicator
    np.testing.assert_allclose(
        arrays["features"][order], np.array([[-0.19, 0, 1, 0, 0], [0, 1, 0, 1, 0], [1, 0, 1, 0, 0]]), atol=1e-6
    )
    assert report.training + report.test == 3
    assert not quarantine
    assert any("burnt into the pixels" in note for note in report.notes)


def test_path_of_a_picture_has_the_words(tmp_path: Path) -> None:
    pixels = draw((4, 4), "uint8", 0, 255)
    for name in ("no/A1_1.png", "no/A1_2.png", "yes/b 2_1.png", "yes/c_x_1.png", "maybe/d_1.png"):
        save_picture(tmp_path / "by-finding" / name, pixels)
    contract = make_contract(records_per_patient=2)
    mapping = 'source: {kind: files, pattern: "by-finding/{finding}/{patient}_{number}.png"}'
    _, arrays, quarantine = convert(tmp_path, contract, mapping)
    assert sorted(zip(arrays["patient"].tolist(), arrays["label"].tolist(), strict=True)) == [
        (b"A1", 0), (b"A1", 0), (b"b 2", 1),
    ]  # fmt: skip
    assert quarantine == [
        "'finding' has a word that the contract's label does not list,by-finding/maybe/d_1.png,1,finding",
        "can be divided into the pattern's words in several ways,by-finding/yes/c_x_1.png,5,",
    ]


def make_archive(folder: Path) -> list[Any]:
    """Write an archive of three people, their files named at random, with a report, a text and a double."""
    pixels = [draw((4, 4), "uint16", 0, 4095, seed) for seed in range(4)]
    for number, each in enumerate(pixels):
        dataset = make_dicom(each, BitsStored=12, HighBit=11, PatientID=("007", "007", "B", "C")[number])
        dataset.SeriesInstanceUID = f"1.2.{number // 2}"
        dataset.InstanceNumber = 9 - number
        dataset.Modality = "DX"
        write(folder / "archive" / str(number % 2) / f"{(number * 7) % 5}", dataset)
    write(folder / "archive" / "double", dataset)
    report = make_dicom(pixels[0], Modality="SR")
    del report.PixelData
    write(folder / "archive" / "report.dcm", report)
    (folder / "archive" / "README").write_text("No image.")
    (folder / "archive" / "._hidden.dcm").write_bytes(b"left by another system")
    (folder / "archive" / "broken.dcm").write_bytes(b"nothing")
    (folder / "findings.csv").write_text("PID,finding\n007,yes\nB,no\n", encoding="utf-8")
    return pixels


ARCHIVE = """
source: {kind: dicom, folder: archive, where: {Modality: DX}}
tables: [{source: {kind: csv, path: findings.csv}, match: {PID: PatientID}, columns: {finding: finding}}]
columns: {patient: PatientID}
"""


def test_dicom_archive_is_joined_to_a_table_by_a_tag(tmp_path: Path) -> None:
    pixels = make_archive(tmp_path)
    contract = make_contract(records_per_patient=2)
    report, arrays, quarantine = convert(tmp_path, contract, ARCHIVE)
    found: dict[bytes, list[Any]] = {b"007": [], b"B": []}
    for patient, image in zip(arrays["patient"].tolist(), arrays["image"], strict=True):
        found[patient].append(image[0])
    # by series, then by the number of the image, which falls
    np.testing.assert_allclose(found[b"007"], np.stack([pixels[1], pixels[0]]) / 4095, rtol=1e-6)
    np.testing.assert_allclose(found[b"B"], pixels[2][None] / 4095, rtol=1e-6)
    assert {each.reason: each.count for each in report.quarantined} == {
        "is no DICOM file": 1, "is an image that is there already": 1, "has no row in findings.csv": 1,
    }  # fmt: skip
    assert any("1 files are no DICOM images" in note for note in report.notes)
    assert len(quarantine) == 3


@pytest.mark.parametrize("number", [b"--5", b"9" * 5000], ids=["two signs", "too long for a number"])
def test_dicom_image_with_a_damaged_number_is_no_traceback(tmp_path: Path, number: bytes) -> None:
    make_archive(tmp_path)
    dataset = make_dicom(draw((4, 4), "uint16", 0, 9), PatientID="B", Modality="DX")
    data = to_bytes(dataset)
    word = number + b" " * (len(number) % 2)
    begin = data.index(b"\x28\x00\x02\x00")  # the first element after group 0020
    element = b"\x20\x00\x13\x00LO" + len(word).to_bytes(2, "little") + word  # a text where a number belongs
    (tmp_path / "archive" / "odd").write_bytes(data[:begin] + element + data[begin:])
    _, arrays, _ = convert(tmp_path, make_contract(records_per_patient=2), ARCHIVE)
    assert arrays["patient"].tolist().count(b"B") == 2


def test_names_of_files_do_not_change_the_records(tmp_path: Path) -> None:
    make_archive(tmp_path / "one")
    make_archive(tmp_path / "two")
    first = convert(tmp_path / "one", make_contract(records_per_patient=2), ARCHIVE)
    for path in sorted((tmp_path / "two" / "archive").rglob("*")):
        if path.is_file() and path.suffix != ".dcm":
            path.rename(path.with_name(f"z{path.name[::-1]}"))
    second = convert(tmp_path / "two", make_contract(records_per_patient=2), ARCHIVE)
    for name in first[1]:
        np.testing.assert_array_equal(first[1][name], second[1][name])
    assert first[0].sources.keys() == second[0].sources.keys()


def test_nothing_of_a_header_is_in_what_is_kept(tmp_path: Path) -> None:
    make_archive(tmp_path)
    convert(tmp_path, make_contract(records_per_patient=2), ARCHIVE)
    kept = [path for path in (tmp_path / "out-0").rglob("*") if path.is_file()]
    assert {path.name for path in kept} >= {"train.npz", "quarantine.csv"}
    for path in kept:
        data = path.read_bytes()
        assert SECRET.encode() not in data
        assert b"Quagga" not in data
        assert b"1.2.826" not in data  # an identifier of the examination


def test_dicom_series_becomes_a_volume_whatever_its_files_are_called(tmp_path: Path) -> None:
    stored = draw((3, 4, 4), "int16", -1000, 1000)
    for number, each in enumerate(stored):
        dataset = place(
            make_dicom(each, PatientID="P 1", RescaleIntercept=-24, RescaleSlope=1), (0, 0, 2.0 * number)
        )
        write(tmp_path / "archive" / f"{2 - number}.dcm", dataset)
    (tmp_path / "findings.csv").write_text("PID,finding\nP 1,yes\n", encoding="utf-8")
    contract = make_contract(
        images=[
            {
                "depth": 3, "height": 4, "width": 4, "orientation": "SPL", "resize": "none",
                "values": {"kind": "window", "low": -500, "high": 500},
            }
        ]
    )  # fmt: skip
    report, arrays, _ = convert(tmp_path, contract, ARCHIVE.replace("DX", "CT"))
    np.testing.assert_array_equal(arrays["image"], np.clip(stored.astype(np.float32) - 24, -500, 500)[None, None])
    assert any("of all pixels lie below the contract's window" in note for note in report.notes)


def write_volume(path: Path, values: Any, shift: float = 0.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])  # towards left, front and head
    affine[0, 3] = shift
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def make_masked_contract(record: str) -> ImagesContract:
    image = {"depth": 4, "height": 3, "width": 2, "orientation": "SPL", "values": FULL, "resize": "none"}
    return make_contract(images=[image], label=None, masks=[{"classes": 3}], record=record, records_per_patient=4)


NIFTI = """
source: {kind: files, pattern: "images/{patient}.nii.gz"}
masks: {mask: {file: "labels/{patient}.nii.gz", values: [[0], [1], [2, 9]]}}
"""


def test_volumes_and_masks_become_records_or_slices(tmp_path: Path) -> None:
    values, mask = draw((2, 3, 3), "uint8", 0, 255), draw((2, 3, 3), "uint8", 0, 2)
    mask[0, 0, 0] = 9
    write_volume(tmp_path / "images" / "p1.nii.gz", values)
    write_volume(tmp_path / "labels" / "p1.nii.gz", mask)
    # towards left, front, head in the file; the contract wants head, back, left: by hand
    expected = np.flip(values.transpose(2, 1, 0), axis=1).astype(np.float32) / np.float32(255)
    classes = np.flip(np.where(mask == 9, 2, mask).transpose(2, 1, 0), axis=1)
    _, arrays, _ = convert(tmp_path, make_masked_contract("image"), NIFTI)
    assert arrays["image"].shape == (1, 1, 4, 3, 2)
    np.testing.assert_allclose(arrays["image"][0, 0, :3], expected, rtol=1e-6)
    assert not arrays["image"][0, 0, 3].any()  # padding
    np.testing.assert_array_equal(arrays["mask"][0, :3], classes)
    _, arrays, _ = convert(tmp_path, make_masked_contract("slice"), NIFTI)
    assert arrays["patient"].tolist() == [b"p1"] * 3
    np.testing.assert_allclose(arrays["image"][:, 0], expected, rtol=1e-6)
    np.testing.assert_array_equal(arrays["mask"], classes)


def test_image_that_cannot_be_used_is_left_out_with_its_place(tmp_path: Path) -> None:
    values = draw((2, 3, 3), "uint8", 0, 255)
    for name in ("good", "lacks-mask", "moved", "strange"):
        write_volume(tmp_path / "images" / f"{name}.nii.gz", values)
    (tmp_path / "images" / "cut.nii.gz").write_bytes((tmp_path / "images" / "good.nii.gz").read_bytes()[:60])
    for name, shift, number in (("good", 0.0, 1), ("moved", 1.0, 1), ("strange", 0.0, 7), ("cut", 0.0, 1)):
        write_volume(tmp_path / "labels" / f"{name}.nii.gz", np.full((2, 3, 3), number, np.uint8), shift)
    report, arrays, quarantine = convert(tmp_path, make_masked_contract("image"), NIFTI, most=0.9)
    assert arrays["patient"].tolist() == [b"good"]
    assert quarantine == [
        "'image' ends too early: the file was cut,images/cut.nii.gz,1,image",
        "'mask' has a number that the mapping's values give no class,images/strange.nii.gz,5,mask",
        "'mask' has no such file,images/lacks-mask.nii.gz,3,mask",
        "'mask' lies elsewhere than its image,images/moved.nii.gz,4,mask",
    ]
    with pytest.raises(DataError, match=r"4 of 5 items .80.00%. cannot be used"):
        convert(tmp_path, make_masked_contract("image"), NIFTI, most=0.5)
    # names of files, which may name patients, are in the list at the site only
    assert {place.source for each in report.quarantined for place in each.places} == {"images/{patient}.nii.gz"}
    assert {each.reason for each in report.quarantined} == {line.split(",")[0] for line in quarantine}


def test_prediction_needs_neither_labels_nor_masks(tmp_path: Path) -> None:
    write_volume(tmp_path / "images" / "new.nii.gz", draw((2, 3, 3), "uint8", 0, 255))
    _, arrays, quarantine = convert(tmp_path, make_masked_contract("image"), NIFTI, with_targets=False)
    assert arrays["patient"].tolist() == [b"new"]
    assert set(arrays) == {"patient", "image"}
    assert not quarantine


def test_word_that_leads_out_of_the_folder_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    save_picture(tmp_path / "secret.png", draw((4, 4), "uint8", 0, 255))
    save_picture(folder / "good.png", draw((4, 4), "uint8", 0, 255))
    (folder / "images.csv").write_text(
        f"patient,file,finding\n1,../secret.png,yes\n2,{tmp_path}/secret.png,yes\n3,good.png,no\n4,*.png,no\n5,,no\n",
        encoding="utf-8",
    )
    mapping = 'source: {kind: table, source: {kind: csv, path: images.csv}}\nimages: {image: "{file}"}'
    _, arrays, quarantine = convert(folder, make_contract(), mapping, most=0.9)
    assert arrays["patient"].tolist() == [b"3"]
    assert [line.rsplit(",", 2)[0].split(",")[0] for line in quarantine] == [
        "'image' has in 'file' a path that leads elsewhere", "'image' has in 'file' a path that leads elsewhere",
        "'image' has no such file", "'image' has no word 'file' for the path",
    ]  # fmt: skip


def test_words_that_lead_out_of_the_folder_together_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    save_picture(tmp_path / "secret.png", draw((4, 4), "uint8", 0, 255))
    save_picture(folder / "ab" / "secret.png", draw((4, 4), "uint8", 0, 255))
    (folder / "images.csv").write_text("patient,x,y,finding\n1,.,.,yes\n2,a,b,no\n", encoding="utf-8")
    mapping = 'source: {kind: table, source: {kind: csv, path: images.csv}}\nimages: {image: "{x}{y}/secret.png"}'
    _, arrays, quarantine = convert(folder, make_contract(), mapping, most=0.9)
    assert arrays["patient"].tolist() == [b"2"]
    assert "has words that make a path that leads elsewhere" in quarantine[0]


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ("source: {kind: files, pattern: images}", "different words in braces"),
        ('source: {kind: files, pattern: "../{patient}.png"}', "below the mapping's folder"),
        ('source: {kind: files, pattern: "{patient}.png"}\nimages: {image: x}', "gives the first image itself"),
        ("source: {kind: table, source: {kind: csv, path: a.csv}}", "write for 'image' where its files are"),
        (
            'source: {kind: files, pattern: "{patient}.png"}\nmasks: {mask: {file: a, values: [[0], [0]]}}',
            "listed twice",
        ),
        (
            'source: {kind: files, pattern: "{patient}.png"}\nmasks: {m: {file: a, values: [[0], [1]]}}',
            "no mask 'm'",
        ),
        ("source: {kind: dicom, folder: archive, tags: [PatientName]}", "two people may have one name"),
        ("source: {kind: dicom, folder: archive, tags: [PatientNr]}", "no tag of DICOM"),
    ],
)
def test_mapping_that_does_not_fit_is_refused_with_what_to_write(
    tmp_path: Path, mapping: str, sentence: str
) -> None:
    (tmp_path / "archive").mkdir()
    with pytest.raises(SiteConfigError, match=sentence):
        convert(tmp_path, make_contract(), mapping)


def test_sources_that_lack_everything_are_mistakes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file is called"):
        convert(tmp_path, make_contract(), 'source: {kind: files, pattern: "{patient}_{finding}.png"}')
    save_picture(tmp_path / "1.png", draw((4, 4), "uint8", 0, 255))
    with pytest.raises(DataError, match="gives no finding"):
        convert(tmp_path, make_contract(), 'source: {kind: files, pattern: "{patient}.png"}')


def test_library_that_is_absent_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_archive(tmp_path)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(SiteConfigError, match=r"pip install 'consilium\[images\]'"):
        convert(tmp_path, make_contract(), ARCHIVE)
    monkeypatch.setitem(sys.modules, "PIL", None)
    save_picture_bytes = b"\x89PNG\r\n\x1a\n" + bytes(100)
    (tmp_path / "1_yes.png").write_bytes(save_picture_bytes)
    with pytest.raises(SiteConfigError, match=r"pip install 'consilium\[images\]'"):
        convert(tmp_path, make_contract(), 'source: {kind: files, pattern: "{patient}_{finding}.png"}')


def test_snapshot_of_images_is_read_as_the_contract_s_records(tmp_path: Path) -> None:
    for number in range(6):
        save_picture(tmp_path / f"{number}_yes.png", draw((4, 4), "uint8", 0, 255, number))
    contract = make_contract()
    convert(tmp_path, contract, 'source: {kind: files, pattern: "{patient}_{finding}.png"}')
    data = read_data(contract, tmp_path / "out-0" / "train.npz")
    assert data.patients.inputs["image"][:].shape[1:] == (1, 4, 4)
    assert set(data.ids) <= {str(number) for number in range(6)}
