"""Physical batches: every record of the lot once, in runs of patients with equally many."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from privacy.dpsgd.batching import make_batches


@given(
    counts=st.lists(st.integers(0, 6), min_size=1, max_size=30),
    limit=st.integers(1, 20),
    chosen=st.sets(st.integers(0, 29)),
)
def test_batches_hold_every_record_once(counts: list[int], limit: int, chosen: set[int]) -> None:
    sizes = np.array(counts, dtype=np.int64)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    lot = np.array(sorted(patient for patient in chosen if patient < len(sizes)), dtype=np.int64)
    seen: list[int] = []
    for batch in make_batches(sizes, lot, limit):
        assert batch.records <= limit or batch.patients == 1
        assert np.all(np.diff(batch.sizes) >= 0)
        patients = owner[batch.rows]
        assert len(np.unique(patients)) == batch.patients
        assert np.array_equal(
            np.unique(patients[np.argsort(batch.owner.numpy(), kind="stable")]), np.unique(patients)
        )
        assert np.allclose(np.bincount(batch.owner.numpy(), batch.weights.numpy()), 1)
        for run in batch.runs:
            assert np.all(batch.sizes[run.patients] == run.each)
            assert run.records.stop - run.records.start == run.count * run.each
            held = patients[run.records].reshape(run.count, run.each)
            assert np.all(held == held[:, :1])
        seen += batch.rows.tolist()
    assert sorted(seen) == np.flatnonzero(np.isin(owner, lot)).tolist()


def test_batch_of_two_views_holds_every_record_twice_side_by_side() -> None:
    (batch,) = make_batches(np.array([1, 3, 2]), np.array([1, 2]), 10)
    twice = batch.repeat_records(2)
    assert twice.rows.tolist() == [4, 4, 5, 5, 1, 1, 2, 2, 3, 3]
    assert twice.sizes.tolist() == [4, 6]
    assert twice.weights.tolist() == [1 / 4] * 4 + [1 / 6] * 6


def test_parts_of_a_large_patient_hold_all_records() -> None:
    (batch,) = make_batches(np.array([7]), np.array([0]), 3)
    assert [part.rows.tolist() for part in batch.split_records(3)] == [[0, 1, 2], [3, 4, 5], [6]]
