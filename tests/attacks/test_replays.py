"""Requests that are replayed, misdirected, forged or altered, and a ledger that was rolled back."""

import pytest

from benchmarks.small_study import small_terms
from privacy.errors import WireError
from privacy.keys import SigningKey
from privacy.ledger.signed_head import Countersigned, LedgerHead
from privacy.protocol.envelope import Envelope, make_envelope, read_body
from privacy.protocol.messages import Close, Closed, Open, Problem
from privacy.signed import Signed
from privacy.study import COORDINATOR
from tests.protocol.conftest import Found
from tests.protocol.mallory import Mallory, in_charge, require_refused, require_unexplained
from tests.simulator import FOUR


def head_of(name: str, mallory: Mallory, number: int) -> Countersigned:
    """A head that the site never had, with everybody's signature on it."""
    head = LedgerHead(
        site=name, number=number, hash="ab" * 32, time="2026-01-01T00:00:00Z", recovered=None, accounts=()
    )
    identity = mallory.simulator.homes[name].load_identity()
    return Countersigned.sign(
        mallory.simulator.federation.load_identity(), COORDINATOR, Signed[LedgerHead].sign(identity, head)
    )


def test_replayed_request_is_stale(mallory: Mallory) -> None:
    """A recorded request is sent again: the numbers of requests rise."""
    request = mallory.simulator.signed("ash", Close(base=0))
    first = read_body(mallory.simulator.sites["ash"].answer(request)).content
    assert isinstance(first, Closed)
    again = read_body(mallory.simulator.sites["ash"].answer(request)).content
    assert isinstance(again, Problem)
    assert again.code == "stale"


def test_request_for_another_site_has_no_effect(mallory: Mallory) -> None:
    """A request is delivered to another site: it names its receiver."""
    request = mallory.simulator.signed("birch", Close(base=0))
    with pytest.raises(WireError, match="reached 'ash'"):
        mallory.simulator.sites["ash"].answer(request)


def test_request_that_the_pinned_coordinator_has_not_signed_has_no_effect(mallory: Mallory) -> None:
    """Somebody else on the network asks a site to close: a site obeys only the key it has pinned."""
    simulator = mallory.simulator
    request = make_envelope(
        SigningKey.generate(),
        Close(base=0),
        study=simulator.study,
        sender=COORDINATOR,
        receiver="ash",
        number=1000,
    )
    with pytest.raises(WireError, match="not by the key"):
        simulator.sites["ash"].answer(request)
    assert not simulator.state("ash").closed


def test_blob_exchanged_on_its_way_has_no_effect(mallory: Mallory) -> None:
    """The aggregate of a signed request is exchanged on its way: its digest is under the signature."""
    committed, aggregate = mallory.honest_round()
    sent = mallory.simulator.signed("ash", Open(keys=mallory.keys[1], committed=committed), aggregate)
    with pytest.raises(WireError, match="blobs are not those"):
        mallory.simulator.sites["ash"].answer(Envelope(sent.body, sent.signature, (bytes(len(aggregate)),)))


def test_witnessed_head_that_is_not_in_the_ledger_is_a_rollback_and_nothing_is_trained(mallory: Mallory) -> None:
    """The coordinator has seen more of the ledger than the site has: the site was rolled back, and says so."""
    reply = mallory.train("ash", witnessed=head_of("ash", mallory, number=40))
    require_refused(reply, "refused", "it was rolled back or replaced, or a copy of it is in use elsewhere")
    last = mallory.simulator.entries("ash")[-1].body
    assert getattr(last, "code", "") == "rollback"
    assert not mallory.simulator.trained


def test_witnessed_head_of_another_history_is_a_rollback(mallory: Mallory) -> None:
    """The coordinator has seen another entry under a number that the ledger has: somebody uses a copy."""
    reply = mallory.train("ash", witnessed=head_of("ash", mallory, number=1))
    require_refused(reply, "refused", "entry 1 of this site's ledger")


def test_study_closed_early_is_not_trained_in_again(mallory: Mallory) -> None:
    """A study is closed, which gives its unused budget back, and then gone on with: closed is closed."""
    mallory.simulator.exchange("ash", Close(base=0))
    require_refused(mallory.train("ash"), "stale", "the study is closed at this site")


def other_study(mallory: Mallory) -> Mallory:
    """The same terms launched again over the same sites, with a round of its own that nobody has opened."""
    simulator = mallory.simulator
    simulator.journal.close()
    simulator.launch()
    other = Mallory(simulator)
    other.key()
    return other


def test_keys_headers_and_aggregates_of_another_study_are_refused(found: Found) -> None:
    """A whole round of one study is replayed in another of the same terms, sites and models.

    Statements, contexts of masks and of checks carry the launch, which has a nonce of its own.
    """
    terms = small_terms(training={"rounds": 1, "local_steps": 1}, evaluation={"rounds": []})
    first = in_charge(found(terms))
    committed, aggregate = first.honest_round()
    other = other_study(first)
    assert other.launch.statement.digest != first.launch.statement.digest
    require_refused(other.open("ash", committed, aggregate, keys=other.keys[1]), "opening-failed", "another study")
    require_refused(other.train("birch", keys=first.keys[1]), "keys-refused", "for another study or epoch")
    other.seal()
    mixed = {**other.headers_of(), "birch": first.headers["birch", 1, 1]}
    require_refused(other.release("ash", headers=mixed), "release-refused", "another view of the round")
    other.seeds()
    require_unexplained(other, "elm", other.open("elm", other.committed(), aggregate), "masks do not cancel")


def test_sealed_update_of_another_study_does_not_open_in_its_place(found: Found) -> None:
    """The coordinator puts a site's update of another study into a sum, to read it against a known one."""
    terms = small_terms(training={"rounds": 1, "local_steps": 1}, evaluation={"rounds": []})
    first = in_charge(found(terms))
    first.seal()
    other = other_study(first)
    other.seal()
    blobs = [first.blobs["ash", 1, 1], *(other.blobs[name, 1, 1] for name in FOUR[1:])]
    total = other.aggregate(blobs, other.seeds())
    require_unexplained(other, "ash", other.open("ash", other.committed(), total), "masks do not cancel")
