"""What rounding, saturation and the common scale could give away of a patient whom noise was to hide.

With local noise each site's update is noised whole before it is rounded: integers, what is left of them, and the scale
are functions of values that were paid for. With distributed noise they would not be, and there is none of the three.
"""

from typing import cast

import numpy as np
import pytest

from benchmarks.small_study import small_terms
from client.training.jobs import Job, R, TrainedRound, TrainRound
from privacy.errors import TermsError
from privacy.protocol.messages import Sealed
from privacy.secure_aggregation.round_layout import compute_weight, make_grid
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.mallory import REFERENCE, Mallory
from tests.protocol.moments import in_phase
from tests.protocol.test_distributed_noise import distributed_terms
from tests.simulator import FOUR, Vector, WatchedTrainer


def test_shared_noise_has_no_feedback_and_no_scale_from_data(found: Found) -> None:
    """With shares of noise, what rounding leaves and a scale from sums would both show patients without enough noise.

    A study with distributed noise keeps nothing that is left and never changes its scale; values wrap and are not cut
    (`tests/privacy/mechanisms/test_distributed_noise.py`).
    """
    simulator = found(distributed_terms())
    in_phase(simulator, Phase.RELEASING, 3)
    for name in FOUR:
        assert simulator.state(name).halvings == 0
        assert list(simulator.store(name).folder.glob("left-*")) == []
    assert simulator.store("ash").read_integers(3) is not None


@pytest.mark.parametrize(
    ("section", "change", "sentence"),
    [
        ("training", {"local_steps": 2}, "a round is one global step"),
        ("privacy", {"epsilon": "none", "delta": None, "clipping_norm": None}, "needs an epsilon"),
    ],
)
def test_shared_noise_without_what_its_proof_needs_is_no_study(
    section: str, change: dict[str, object], sentence: str
) -> None:
    """The author writes terms under which shares do not add up to the promise: they are refused when they are read."""
    terms = distributed_terms().model_dump(mode="json")
    sections = {name: terms[name] for name in ("training", "privacy", "secure_aggregation")}
    sections[section] = {**sections[section], **change}
    with pytest.raises(TermsError, match=sentence):
        small_terms(**sections)


def test_what_rounding_leaves_is_left_of_the_noised_update(
    mallory: Mallory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Error feedback carries a patient's own share, un-noised, into rounds that never sampled them.

    Here it cannot: the integers of a round and what is left of it add up to what the trainer gave out, noise in it.
    """
    given: list[Vector] = []
    run = WatchedTrainer.run

    def watched(trainer: WatchedTrainer, job: Job[R]) -> R:
        answer = run(trainer, job)
        if isinstance(job, TrainRound) and isinstance(answer, TrainedRound):
            assert job.noise_multiplier is not None
            given.append(answer.update)
            return cast("R", answer._replace(update=answer.update.copy()))
        return answer

    monkeypatch.setattr(WatchedTrainer, "run", watched)
    assert isinstance(mallory.train("ash"), Sealed)
    store, grid = mallory.simulator.store("ash"), make_grid(mallory.launch.statement.terms, 0)
    weight = compute_weight(mallory.launch.statement.terms, store.state.patients, REFERENCE)
    integers, left = store.read_integers(1), store.read_rounding_residual(2)
    assert integers is not None
    rounded = (integers.astype(np.float64) - grid.zero) * grid.step
    np.testing.assert_allclose(rounded + left, weight * given[0], rtol=0, atol=1e-6 * grid.step)


def test_how_much_was_cut_leaves_no_site(mallory: Mallory) -> None:
    """The number of saturated values depends on records: no reply has a field for it, and messages do not differ."""
    for name in FOUR:
        assert isinstance(mallory.train(name), Sealed)
    fields = set(Sealed.model_fields) | set(mallory.headers["ash", 1, 1].statement.model_fields_set)
    assert not {field for field in fields if "saturat" in field or "cut" in field or "left" in field}
    assert len({len(blob) for blob in mallory.blobs.values()}) == 1


def test_scale_of_every_round_is_the_same_at_every_site(found: Found) -> None:
    """A scale that a site took from its own data would show them: it follows from the opened sums alone."""
    terms = small_terms(
        training={"rounds": 4}, evaluation={"rounds": []}, secure_aggregation={"value_range": 1000.0}
    )
    simulator = found(terms)
    seen = []
    for number in (1, 2, 3):
        in_phase(simulator, Phase.RELEASING, number + 1)
        seen.append({simulator.state(name).halvings for name in FOUR})
    assert all(len(each) == 1 for each in seen)
    assert seen[-1] != {0}, "with a range of 1000 and much smaller updates it shrinks"
