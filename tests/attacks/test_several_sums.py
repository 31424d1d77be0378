"""A malicious coordinator asks for several sums of one round: sites seal and release for one, and pay once."""

import pytest

from benchmarks.small_study import small_terms, without_privacy
from privacy.errors import TermsError
from privacy.protocol.messages import Sealed
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_safe
from tests.protocol.mallory import Mallory, in_charge, require_refused
from tests.protocol.moments import THREE


def test_second_attempt_after_a_release_is_refused(mallory: Mallory) -> None:
    """Two sums over cohorts that differ by one site would be that site's update."""
    mallory.seal()
    mallory.seeds()
    reply = mallory.train("ash", attempt=2, cohort=THREE)
    require_refused(reply, "released", "released its mask of this round in attempt 1")
    require_safe(mallory.simulator)


def test_second_attempt_after_a_release_and_a_restart_is_refused(mallory: Mallory) -> None:
    """The same, and the site is restarted in between to make it forget.

    What it released is on disk before it is sent.
    """
    mallory.seal()
    mallory.seeds()
    mallory.simulator.restart_site("ash")
    mallory.key(2)
    reply = mallory.train("ash", attempt=2, cohort=THREE, epoch=2)
    require_refused(reply, "released", "released its mask of this round in attempt 1")


def test_mask_of_an_attempt_that_was_overtaken_is_gone(mallory: Mallory) -> None:
    """Release is asked for an attempt that a newer one has overtaken, to have the masks of both.

    The older seed is forgotten when the newer one is drawn.
    """
    mallory.seal()
    mallory.seal(attempt=2, cohort=THREE)
    require_refused(mallory.release("ash", attempt=1), "epoch-lost", "no mask for attempt 1 of round 1")


def test_attempt_that_is_over_is_not_sealed_again(mallory: Mallory) -> None:
    """A site is asked to go back to an earlier attempt, to collect one that others have answered.

    Attempts only rise.
    """
    mallory.seal(attempt=2)
    require_refused(mallory.train("ash", attempt=1), "stale", "attempt 1 of round 1 is over")


@pytest.mark.parametrize("other", [{"cohort": THREE}, {"epoch": 2}], ids=["cohort", "epoch"])
def test_same_attempt_with_another_cohort_or_epoch_is_refused(mallory: Mallory, other: dict[str, object]) -> None:
    """One attempt is asked twice, with two cohorts or epochs, to have two sums under one mask.

    An attempt is one of each.
    """
    mallory.seal()
    mallory.key(2)
    require_refused(mallory.train("ash", **other), "refused", "one cohort and one epoch")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "cohort",
    [
        ("ash", "birch"),
        ("birch", "cedar", "elm"),
        ("ash", "birch", "puppet"),
        ("ash", "ash", "birch"),
        ("elm", "cedar", "ash"),
    ],
    ids=["below the minimum", "without the site", "with a stranger", "named twice", "in another order"],
)
def test_bad_cohort_is_refused_and_nothing_is_paid(mallory: Mallory, cohort: tuple[str, ...]) -> None:
    """Cohorts in which a sum would be a lone update, or that nobody would notice twice: refused before any work."""
    require_refused(mallory.train("ash", cohort=cohort), "refused", "a cohort names")
    assert mallory.simulator.entries("ash", "reserve") == []
    assert not mallory.simulator.trained


@pytest.mark.parametrize("number", [0, 6], ids=["before the first", "after the last"])
def test_round_outside_the_terms_is_refused(mallory: Mallory, number: int) -> None:
    """The coordinator asks for rounds that nobody admitted."""
    require_refused(mallory.train("ash", number), "stale", f"round {number} is over here")


def test_closing_evaluation_trains_nobody(mallory: Mallory) -> None:
    """The exchange after the last round is used to have one more round: it carries no parameters."""
    assert isinstance(mallory.train("ash", 5), Sealed)
    assert not mallory.simulator.trained


def test_same_question_gets_the_same_bytes_and_is_paid_once(mallory: Mallory) -> None:
    """The coordinator asks the same again, hoping for other noise or another mask: it gets the same bytes."""
    first = mallory.train("ash")
    blob = mallory.blobs["ash", 1, 1]
    assert mallory.train("ash") == first
    assert mallory.blobs["ash", 1, 1] == blob
    assert len(mallory.simulator.entries("ash", "reserve", "settle")) == 2
    assert mallory.simulator.trained == {("ash", 1): 1}


def test_new_attempt_seals_under_a_new_mask_and_is_not_paid_again(mallory: Mallory) -> None:
    """Two attempts of one round could show two roundings or two noises of one update: the integers are drawn once."""
    mallory.train("ash")
    integers = mallory.simulator.store("ash").read_integers(1)
    mallory.train("ash", attempt=2, cohort=THREE)
    again = mallory.simulator.store("ash").read_integers(1)
    assert integers is not None
    assert again is not None
    assert again.tobytes() == integers.tobytes()
    assert mallory.blobs["ash", 1, 1] != mallory.blobs["ash", 1, 2]
    assert len(mallory.simulator.entries("ash", "reserve", "settle")) == 2


def test_more_rounds_than_the_terms_promise_are_not_paid(found: Found) -> None:
    """The coordinator asks for one round more than the terms have."""
    mallory = in_charge(found(small_terms(evaluation={"rounds": []})))
    for number in (1, 2):
        assert isinstance(mallory.train("ash", number), Sealed)
    require_refused(mallory.train("ash", 3), "stale", "round 3 is over here")
    require_safe(mallory.simulator)


def test_other_reference_in_a_later_attempt_is_refused(mallory: Mallory) -> None:
    """The stored integers are weighed with the first: under another one the mean would be wrong."""
    mallory.train("ash")
    require_refused(
        mallory.train("ash", attempt=2, reference=200), "refused", "the study's reference is 90, not 200"
    )


def test_without_privacy_the_round_after_a_void_one_is_refused_with_another_cohort(found: Found) -> None:
    """The void round's sum may be open to the coordinator and a colluder: the difference would be elm's update."""
    mallory = in_charge(found(without_privacy(training={"rounds": 4}, evaluation={"rounds": []})))
    mallory.seal()
    mallory.seeds()
    reply = mallory.train("ash", 2, cohort=THREE)
    require_refused(reply, "release-refused", "needs the identical cohort")
    assert mallory.simulator.trained["ash", 2] == 0
    assert isinstance(mallory.train("ash", 2), Sealed)


def test_with_privacy_the_round_after_a_void_one_may_have_another_cohort(mallory: Mallory) -> None:
    """The same attack where noise limits it: every update in the difference carries its own, and is paid for."""
    mallory.seal()
    mallory.seeds()
    assert isinstance(mallory.train("ash", 2, cohort=THREE), Sealed)


@pytest.mark.parametrize(("minimum", "colluders"), [(2, 0), (3, 2), (4, 3), (5, 4)])
def test_cohort_in_which_colluders_leave_one_site_alone_is_no_study(minimum: int, colluders: int) -> None:
    """With ``minimum - 1`` colluders a sum is the last site's update: such terms are refused when they are read."""
    with pytest.raises(TermsError, match="in a smaller cohort the sum could be read as one site's update"):
        small_terms(cohort={"minimum": minimum, "colluders": colluders})


def test_round_after_a_void_one_has_fresh_randomness(mallory: Mallory) -> None:
    """A void round is repeated from the same model, so that only one site's update differs between the sums.

    Each round's lots and noise are drawn anew from the operating system, never from the terms.
    """
    mallory.seal()
    mallory.seeds()
    for name in THREE:
        mallory.train(name, 2, cohort=THREE)
    draws = {(site, number): key for site, number, key in mallory.simulator.draws}
    assert len(draws) == len(set(draws.values())) == 7
    for name in THREE:
        first, second = (mallory.simulator.store(name).read_integers(number) for number in (1, 2))
        assert first is not None
        assert second is not None
        assert first.tobytes() != second.tobytes()
    assert [entry.kind for entry in mallory.simulator.entries("ash", "reserve")] == ["reserve"] * 2


def test_void_round_is_written_in_the_ledger_and_paid(mallory: Mallory) -> None:
    """A coordinator calls rounds void that it can open: each stays spent, with nothing for it."""
    mallory.seal()
    mallory.seeds()
    mallory.train("ash", 2)
    incident = mallory.simulator.entries("ash", "incident")[-1].body
    assert (getattr(incident, "code", ""), getattr(incident, "round", 0)) == ("void-round", 1)
    assert len(mallory.simulator.entries("ash", "settle")) == 2
