"""Arrays that break their contract, or keep it and are probably not meant so, are named with counts and records."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import client.data.named_arrays
from client.data.inspection import Inspected, inspect_files
from client.data.mistakes import Place
from client.data.named_arrays import read_arrays_contents
from client.data.site_data import read_data
from privacy.errors import DataError
from tests.client.data.named_arrays import choose_writer, make_arrays, make_contract, write_arrays

CONTRACT = make_contract()


@pytest.fixture(params=["blocks of 7", "one block"], autouse=True)
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are looked at a few at a time, and records lie across the edges."""
    if request.param == "blocks of 7":
        monkeypatch.setattr(client.data.named_arrays, "_BLOCK", 7)


def changed(name: str, record: tuple[int, ...], value: Any, dtype: Any = None) -> dict[str, NDArray[Any]]:
    """Arrays that keep the contract, but for one value."""
    arrays = make_arrays()
    arrays[name] = arrays[name].astype(dtype or arrays[name].dtype)
    arrays[name][record] = value
    return arrays


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize(
    ("name", "record", "value", "dtype", "sentence"),
    [
        ("image", (5, 1, 1), np.nan, "f4", "array 'image': 1 values in 1 records are no finite number"),
        ("image", (5, 0, 3), -np.inf, "f8", "array 'image': 1 values in 1 records are no finite number"),
        ("codes", (5, 2), 77, "i8", "array 'codes': 1 values in 1 records are outside the vocabulary, 0 to 9"),
        ("codes", (5, 4), -1, "i2", "array 'codes': 1 values in 1 records are outside the vocabulary, 0 to 9"),
        ("codes", (5, 4), 2**64 - 1, "u8", "array 'codes': 1 values in 1 records are outside the vocabulary, 0 to 9"),
        ("missing", (5, 2), 2, "u1", "array 'missing': 1 values in 1 records are neither 0 nor 1"),
        ("label", (5,), 3, "i4", "array 'label': 1 values in 1 records are outside the vocabulary, 0 to 2"),
    ],
)  # fmt: skip
def test_value_that_breaks_the_contract_is_found_with_its_record(
    tmp_path: Path, name: str, record: tuple[int, ...], value: Any, dtype: str, sentence: str, order: str
) -> None:
    arrays = changed(name, record, value, dtype)
    arrays[name] = np.asfortranarray(arrays[name]) if order == "F" else arrays[name]
    contents = read_arrays_contents(CONTRACT, write_arrays(tmp_path / "a.npz", **arrays))
    (mistake,) = contents.mistakes
    assert mistake.sentence.startswith(sentence)
    assert (mistake.unit, mistake.places) == ("record", (Place(5, str(arrays[name][record])),))
    with pytest.raises(DataError, match=f"breaks the contract 'scans': {sentence}"):
        read_data(CONTRACT, write_arrays(tmp_path / "a.npz", **arrays))


def test_bytes_that_are_no_flag_are_found_in_an_array_of_type_bool(tmp_path: Path) -> None:
    flags = np.zeros((24, 3), dtype=np.uint8)
    flags[7, 1], flags[9] = 255, 4
    path = write_arrays(tmp_path / "a.npz", **{**make_arrays(), "missing": flags.view(np.bool_)})
    (mistake,) = read_arrays_contents(CONTRACT, path).mistakes
    assert mistake.sentence == "array 'missing': 4 values in 2 records are neither 0 nor 1"
    assert mistake.places == (Place(7, "255"), Place(9, "4"))


def test_ids_that_count_from_one_are_recognised(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "a.npz", **{**make_arrays(), "label": np.arange(24) % 3 + 1})
    with pytest.raises(
        DataError, match=r"8 records are outside the vocabulary, 0 to 2; are they numbered from 1\?"
    ):
        read_data(CONTRACT, path)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"image": np.zeros((24, 4, 3))}, r"expected the shape \(records, 3, 4\) with 24 records, got \(24, 4, 3\)"),
        ({"image": np.zeros((23, 3, 4))}, r"with 24 records, got \(23, 3, 4\)"),
        ({"image": np.zeros((24, 3, 4), dtype=complex)}, r"'image': expected numbers \(.*\), got complex128"),
        ({"codes": np.zeros((24, 5))}, r"'codes': expected whole numbers of a vocabulary .*, got float64"),
        ({"missing": np.zeros((24, 3))}, r"'missing': expected flags .*, got float64"),
        ({"label": np.array(["a"] * 24)}, r"'label': expected whole numbers .*, got str32"),
        ({"label": np.zeros((24, 1), dtype=int)}, r"'label': expected the shape \(records,\) with 24"),
        ({"patient": np.arange(24.0)}, r"'patient': expected text or whole numbers, .*, got float64"),
        ({"patient": np.arange(24).reshape(24, 1)}, r"'patient': .* got int64 of shape \(24, 1\)"),
        ({"patient": np.array(["a", "", "\u200b", " "] + ["b"] * 20)}, "'patient': 3 records without a patient"),
        ({"patient": np.array(["a\x00b"] * 24)}, "'patient': 24 records have a character in the patient"),
        ({"patient": np.array([b"\xff"] * 24)}, "'patient': 24 records have a character in the patient"),
        ({"patient": np.full(24, 0x7FFFFFFF, np.uint32).view("<U1")}, "'patient': is no text"),
    ],
)  # fmt: skip
def test_array_of_another_form_is_refused_with_what_was_expected(
    tmp_path: Path, arrays: dict[str, NDArray[Any]], sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        read_data(CONTRACT, write_arrays(tmp_path / "a.npz", **{**make_arrays(), **arrays}))


def test_every_mistake_of_a_file_is_listed_at_once(tmp_path: Path) -> None:
    arrays = {**changed("codes", (3, 0), 99), "missing": np.zeros((24, 2)), "patient": np.array([""] * 24)}
    del arrays["image"]
    with pytest.raises(DataError, match=r"lacks 1 arrays.*: image; .*'patient'.*'codes'.*'missing'.*'missing'"):
        read_data(CONTRACT, write_arrays(tmp_path / "a.npz", **arrays))


def test_file_without_records_is_refused(tmp_path: Path) -> None:
    arrays = {name: array[:0] for name, array in make_arrays().items()}
    with pytest.raises(DataError, match="has no records"):
        read_data(CONTRACT, write_arrays(tmp_path / "a.npz", **arrays))


# Warnings --------------------------------------------------------------------------------------------------


def warnings(folder: Path, contract: Any = CONTRACT, **arrays: NDArray[Any]) -> list[str]:
    path = write_arrays(folder / "a.npz", **{**make_arrays(), **arrays})
    contents = read_arrays_contents(contract, path)
    assert contents.mistakes == ()
    return list(contents.find_warnings())


def test_arrays_as_they_are_meant_raise_no_suspicion(tmp_path: Path) -> None:
    assert warnings(tmp_path) == []


def test_numbers_beyond_the_range_are_counted_and_clipped(tmp_path: Path) -> None:
    image = make_arrays()["image"].astype(np.int16)
    image[0, 0, :3] = (-1, 256, 300)
    assert warnings(tmp_path, image=image) == ["array 'image': 3 of 288 numbers beyond the range, clipped"]
    path = write_arrays(tmp_path / "a.npz", **{**make_arrays(), "image": image})
    assert read_data(CONTRACT, path).clipped == 3
    (count,) = [each for each in read_arrays_contents(CONTRACT, path).counts if each.name == "image"]
    assert (count.below, count.above, count.lowest, count.highest) == (1, 2, -1, 300)


def test_numbers_in_a_corner_of_the_range_are_suspicious(tmp_path: Path) -> None:
    (sentence,) = warnings(tmp_path, image=make_arrays()["image"] / 255)
    assert sentence == "array 'image': all 288 numbers lie within 2% of the range 0 to 255: other units?"


def test_target_of_which_nothing_can_be_learnt_is_suspicious(tmp_path: Path) -> None:
    assert warnings(tmp_path, label=np.ones(24, dtype=int)) == [
        "array 'label': the target is the same in all 24 records: nothing can be learnt"
    ]
    assert warnings(tmp_path, label=np.arange(24) % 2) == ["array 'label': 1 of 3 classes occur in no record"]
    flags = make_contract(targets=[{"type": "flag", "name": "label", "shape": [3]}])
    several = np.stack([np.arange(24) % 2, np.zeros(24), np.ones(24)], axis=1).astype(bool)
    assert warnings(tmp_path, flags, label=several) == ["array 'label': 2 of 3 flags are the same in every record"]


# Reports ---------------------------------------------------------------------------------------------------


def inspected(folder: Path, *, packed: bool = False, **arrays: NDArray[Any]) -> Inspected:
    train = choose_writer(packed=packed)(folder / "train.npz", **{**make_arrays(), **arrays})
    return inspect_files(CONTRACT, train, write_arrays(folder / "test.npz", **make_arrays(6, "q")))


def test_report_counts_classes_and_records_and_has_no_number_of_the_file(tmp_path: Path) -> None:
    found = inspected(tmp_path)
    report = found.report
    assert report.training is not None
    assert (report.training.records, report.training.patients, report.public_patients) == (24, 24, 20)
    assert [(each.name, each.classes) for each in report.training.targets] == [("label", (8, 8, 8))]
    assert [each.name for each in report.training.columns] == ["image", "codes", "missing", "label"]
    assert "lowest" not in report.model_dump_json()
    assert len(found.patients) == 30


def test_report_of_a_mistake_names_its_record_and_shows_the_value_at_the_terminal_only(tmp_path: Path) -> None:
    codes = make_arrays()["codes"]
    codes[4, 0] = 4711
    report = inspected(tmp_path, codes=codes).report
    (mistake,) = report.mistakes
    assert (mistake.records, mistake.lines, mistake.shown) == ((4,), (), ("record 4: '4711'",))
    assert "4711" not in report.model_dump_json()
    with pytest.raises(DataError, match="array 'codes'") as caught:
        report.require_no_mistakes()
    assert "4711" not in str(caught.value) + repr(report)


def test_report_notes_what_is_read_into_memory(tmp_path: Path) -> None:
    report = inspected(tmp_path, packed=True).report
    notes = [each.sentence for each in report.findings if each.level == "note"]
    assert len(notes) == 5
    assert notes[0].startswith("array 'patient' is compressed: it takes")
    assert all("in C order and saved with numpy.savez it would be read in parts" in each for each in notes)
