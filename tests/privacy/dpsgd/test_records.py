"""Records in tensors, arrays and files, and invented ones."""

from pathlib import Path

import numpy as np
import pytest
import torch

from privacy.dpsgd import Example, Spec, TensorRecords

CPU = torch.device("cpu")


def test_records_of_tensors_are_selected_in_the_order_asked_for() -> None:
    records = TensorRecords(torch.arange(5.0), {"label": torch.arange(5)}, torch.tensor([0, 0, 2, 2, 2]))
    assert records.patients == 3
    assert records.counts.tolist() == [2, 0, 3]
    inputs, targets = records.select(np.array([4, 0, 0]))
    assert torch.equal(torch.as_tensor(inputs), torch.tensor([4.0, 0.0, 0.0]))
    assert not isinstance(targets, torch.Tensor)
    assert targets["label"].tolist() == [4, 0, 0]


def test_records_of_a_file_are_read_where_they_are_selected(tmp_path: Path) -> None:
    np.save(tmp_path / "volumes.npy", np.arange(24, dtype=np.float32).reshape(4, 3, 2))
    volumes = np.load(tmp_path / "volumes.npy", mmap_mode="r")
    records = TensorRecords({"volume": volumes}, {}, np.array([0, 1, 1, 2]), patients=5, device=CPU)
    assert records.counts.tolist() == [1, 2, 1, 0, 0]
    inputs, targets = records.select(np.array([3, 1]))
    assert not isinstance(inputs, torch.Tensor)
    assert inputs["volume"].tolist() == volumes[[3, 1]].tolist()
    inputs["volume"].zero_()  # a copy: the file, which is open for reading only, keeps its numbers
    assert volumes[3, 2, 1] == 23
    assert targets == {}


def test_records_without_a_record_have_no_patient() -> None:
    records = TensorRecords(torch.zeros(0, 3), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert (records.patients, records.counts.tolist()) == (0, [])


@pytest.mark.parametrize(
    ("inputs", "patient", "patients", "message"),
    [
        ({"a": torch.zeros(3), "b": torch.zeros(2)}, [0, 1, 1], None, "'b' has 2 records, expected 3"),
        (torch.zeros(2), [0, 1, 1], None, "a tensor has 2 records, expected 3"),
        (torch.zeros(3), [0, 1, 0], None, "the records of each patient side by side"),
        (torch.zeros(3), [-1, 0, 1], None, "in rising order from 0"),
        (torch.zeros(3), [0, 1, 2], 2, "expected at most 2 patients, got 3"),
    ],
)
def test_records_that_do_not_fit_together_are_refused(
    inputs: dict[str, torch.Tensor], patient: list[int], patients: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TensorRecords(inputs, torch.zeros(3), np.array(patient), patients)


def test_example_draws_every_value_of_its_ranges_and_no_other() -> None:
    example = Example(
        {
            "numbers": Spec((50,)),
            "ages": Spec((50,), torch.float64, 10.0, 90.0),
            "ids": Spec((50,), torch.int64, 0, 4),
            "mask": Spec((5, 9), torch.bool),
            "flag": Spec((), torch.bool),
        },
        {"label": Spec((), torch.int64)},
    )
    inputs, targets = example.draw(40, CPU)
    assert not isinstance(inputs, torch.Tensor)
    assert not isinstance(targets, torch.Tensor)
    numbers, ages, ids, mask = (inputs[name] for name in ("numbers", "ages", "ids", "mask"))
    assert numbers.dtype == torch.float32
    assert -1 <= float(numbers.min()) < -0.9 < 0.9 < float(numbers.max()) <= 1
    assert ages.dtype == torch.float64
    assert 10 <= float(ages.min()) < 12 < 88 < float(ages.max()) <= 90
    assert set(ids.flatten().tolist()) == {0, 1, 2, 3, 4}
    assert mask.dtype == torch.bool
    assert mask[:, 0].all()
    assert not mask[:, 1:].all()
    assert mask[:, 1:].any()
    assert set(inputs["flag"].tolist()) == {False, True}
    assert set(targets["label"].tolist()) == {0, 1}


def test_example_draws_the_same_records_every_time() -> None:
    example = Example(Spec((6,)))
    for one, other in zip(example.draw(3, CPU), example.draw(3, CPU), strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))
