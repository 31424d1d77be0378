"""A malicious coordinator shows sites different rounds: they compare headers, and release nothing."""

import pytest

from privacy.keys import SigningKey
from privacy.protocol.headers import Header
from privacy.protocol.messages import Released, Sealed
from privacy.signed import Signed
from tests.protocol.mallory import Mallory, require_refused
from tests.protocol.moments import THREE
from tests.simulator import FOUR

OTHER_THREE = ("ash", "birch", "elm")


def test_different_cohorts_for_different_sites_release_nothing(mallory: Mallory) -> None:
    """Two cohorts that differ by one site, one told to three sites, one to the fourth.

    A release needs the headers of exactly the cohort that a site sealed for, all of one view.
    """
    for name in THREE:
        mallory.train(name, cohort=THREE)
    mallory.train("elm", cohort=OTHER_THREE)
    require_refused(mallory.release("ash"), "release-refused", "expected the headers of 3 sites")
    mixed = {name: mallory.headers["elm" if name == "cedar" else name, 1, 1] for name in THREE}
    require_refused(mallory.release("ash", headers=mixed), "release-refused", "not by the key")
    some = {name: mallory.headers[name, 1, 1] for name in OTHER_THREE}
    require_refused(mallory.release("elm", headers=some), "release-refused", "ash sealed from another view")
    assert not any(isinstance(reply, Released) for _, reply in mallory.simulator.transport.said)


@pytest.mark.parametrize(
    "other",
    [{"number": 2}, {"attempt": 2}, {"epoch": 2}, {"reference": 80}],
    ids=["round", "attempt", "epoch", "reference"],
)
def test_site_asked_otherwise_keeps_the_others_from_releasing(mallory: Mallory, other: dict[str, int]) -> None:
    """One site is asked for another round, attempt, epoch or weight than the rest.

    Its header says so, and nobody else releases.
    """
    for name in THREE:
        mallory.train(name)
    mallory.key(2)
    assert isinstance(mallory.train("elm", **other), Sealed)  # type: ignore[arg-type]
    headers = {name: header for (name, *_), header in mallory.headers.items()}
    require_refused(mallory.release("ash", headers=headers), "release-refused", "another view of the round")


def test_site_on_another_model_keeps_the_others_from_releasing(mallory: Mallory) -> None:
    """One site is left on the old model (the others on one with dead neurons, say).

    The model's digest in the headers differs, and nobody else releases.
    """
    committed, aggregate = mallory.honest_round()
    for name in THREE:
        mallory.open(name, committed, aggregate)
        mallory.train(name, 2, base=1)
    mallory.train("elm", 2, base=0)
    require_refused(mallory.release("ash", 2), "release-refused", "elm sealed from another view of the round")


def test_tampered_header_is_not_released_for(mallory: Mallory) -> None:
    """The coordinator changes a header to make it agree: it is signed by its site."""
    mallory.seal()
    headers = mallory.headers_of()
    statement = headers["elm"].statement.model_copy(update={"patients": 10})
    forged = {**headers, "elm": headers["elm"].model_copy(update={"statement": statement})}
    require_refused(mallory.release("ash", headers=forged), "release-refused", "a signature is not by the key")


def test_header_of_a_key_that_is_not_the_peers_is_not_released_for(mallory: Mallory) -> None:
    """The coordinator signs a header of its own making with a key of its own: only the pinned key counts."""
    mallory.seal()
    headers = mallory.headers_of()
    puppet = Signed[Header].sign(SigningKey.generate(), headers["elm"].statement)
    require_refused(mallory.release("ash", headers={**headers, "elm": puppet}), "release-refused", "not by the key")


def test_peers_header_in_another_peers_place_is_not_released_for(mallory: Mallory) -> None:
    """One site's header stands in for another's: a header names its site."""
    mallory.seal()
    headers = mallory.headers_of()
    forged = {**headers, "elm": headers["cedar"]}
    require_refused(mallory.release("ash", headers=forged), "release-refused", "not by the key")


def test_own_header_of_an_earlier_sealing_is_not_released_for(mallory: Mallory) -> None:
    """The header of an overtaken attempt is sent back: a site releases only for the header it signed last."""
    mallory.seal()
    first = mallory.headers_of()
    mallory.seal(attempt=2)
    mixed = {**mallory.headers_of(attempt=2), "ash": first["ash"]}
    require_refused(mallory.release("ash", attempt=2, headers=mixed), "release-refused", "another view")


def test_headers_of_too_few_sites_are_not_released_for(mallory: Mallory) -> None:
    """Release is asked for with two of four headers: a site wants the whole cohort's."""
    mallory.seal()
    two = {name: header for name, header in mallory.headers_of().items() if name in ("ash", "birch")}
    require_refused(mallory.release("ash", headers=two), "release-refused", "expected the headers of 4 sites")


def test_site_with_another_scale_keeps_the_others_from_releasing(mallory: Mallory) -> None:
    """With a scale of its own, one site's update would be large in a sum in which everybody else's rounds to zero.

    The scale follows from sums that all have opened, and is in every header and every mask.
    """
    mallory.simulator.sites["elm"].close()
    mallory.simulator.store("elm").save(halvings=5)
    mallory.simulator.sites["elm"] = mallory.simulator._start("elm")
    mallory.key(2)
    for name in FOUR:
        mallory.train(name, epoch=2)
    require_refused(mallory.release("ash"), "release-refused", "elm sealed from another view of the round")


def test_sum_of_two_views_does_not_open_even_if_masks_were_released(mallory: Mallory) -> None:
    """Suppose that headers were not compared: masks are derived from the view, so those of two do not cancel."""
    for name in THREE:
        mallory.train(name, cohort=THREE)
    mallory.train("elm", cohort=OTHER_THREE)
    seeds = {name: mallory.simulator.sites[name]._participations[mallory.simulator.study]._sealed for name in FOUR}
    own = {name: bytes.fromhex(sealed.kept.own_seed) for name, sealed in seeds.items() if sealed is not None}
    blobs = [mallory.blobs[name, 1, 1] for name in OTHER_THREE]
    aggregate = mallory.aggregate(blobs, {name: own[name] for name in OTHER_THREE})
    committed = mallory.committed(cohort=OTHER_THREE)
    ours = {name: mallory.headers[name, 1, 1] for name in OTHER_THREE}
    reply = mallory.open("ash", committed.model_copy(update={"headers": ours}), aggregate)
    require_refused(reply, "opening-failed", "different views of the round")
