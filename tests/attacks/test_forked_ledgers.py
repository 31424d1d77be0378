"""A site that shows others another ledger than it keeps, or an older one, with a coordinator that conspires.

The coordinator countersigns whatever it is shown. What notices is any one honest site that has seen the ledger before.
"""

from pathlib import Path

import pytest

from benchmarks.small_study import small_terms
from client.study.peer_heads import PeerHeads
from client.study.peer_testimony import write_site_testimony
from privacy.audit.commands.reconcile import compare
from privacy.audit.read_ledger import read_ledger
from privacy.audit.site_ledger import Discrepancy, SiteLedger, Weight
from privacy.ledger import Ledger
from privacy.ledger.entries import Incident
from privacy.ledger.state import LedgerState
from privacy.protocol.headers import Header, HeadReference, LostHead, compute_headers_digest
from privacy.protocol.messages import Opened, Problem, Released, Reply, Sealed
from privacy.protocol.site_testimony import SiteTestimony, read_site_testimony
from privacy.signed import Signed
from tests.protocol.conftest import Found
from tests.protocol.mallory import Mallory, in_charge, require_refused
from tests.protocol.moments import committed
from tests.simulator import Simulator

OTHERS = ("birch", "cedar", "elm")


@pytest.fixture
def after_one(mallory: Mallory) -> Mallory:
    """One honest round is opened by all."""
    first = mallory.honest_round()
    for name in mallory.names:
        assert isinstance(mallory.open(name, *first), Opened)
    return mallory


def resign(mallory: Mallory, name: str, number: int, **changes: object) -> Header:
    """A site signs another header in place of its own: what only a site that conspires can do."""
    header = mallory.headers[name, number, 1].statement.model_copy(update=changes)
    mallory.headers[name, number, 1] = Signed[Header].sign(mallory.simulator.homes[name].load_identity(), header)
    return header


def head_of(mallory: Mallory, name: str, number: int, attempt: int = 1) -> HeadReference:
    return mallory.headers[name, number, attempt].statement.ledger


def require_noticed(mallory: Mallory, name: str, reply: Reply, words: str) -> None:
    """Nothing is released, and the ledger of the site that noticed says why."""
    require_refused(reply, "release-refused", words)
    incident = mallory.simulator.entries(name, "incident")[-1].body
    assert isinstance(incident, Incident)
    assert incident.code == "peer-ledger"
    assert words in incident.sentence


def seen_by(simulator: Simulator, name: str) -> SiteTestimony:
    path = simulator.folder / f"{name}-testimony.jsonl"
    path.unlink(missing_ok=True)
    write_site_testimony(simulator.homes[name], path)
    return read_site_testimony(path)


def ledger_of(path: Path) -> SiteLedger:
    found = SiteLedger(LedgerState())
    _, found.ledger = read_ledger(path, watch=found.apply)
    return found


def contradictions(findings: list[Discrepancy], site: str) -> list[str]:
    return [each.sentence for each in findings if each.weight is Weight.CONTRADICTION and each.site == site]


def newest_seen(mallory: Mallory, name: str, peer: str) -> HeadReference:
    return PeerHeads(mallory.simulator.homes[name].peer_heads_path).list_newest([peer])[peer]


def test_honest_sites_see_each_others_ledgers_grow_and_name_the_headers_that_show_it(after_one: Mallory) -> None:
    after_one.seal(2, base=1)
    after_one.seeds(2)
    last = compute_headers_digest(after_one.headers_of(1))
    for name in after_one.names:
        header = after_one.headers[name, 2, 1].statement
        assert (header.view.headers, header.seen) == (last, {})
    for name in after_one.names:
        (view,) = {after_one.headers[name, 2, 1].statement.view.headers for name in after_one.names}
        assert view != after_one.headers[name, 1, 1].statement.view.headers


def test_header_adds_what_its_site_has_seen_beside_the_last_round(after_one: Mallory) -> None:
    """Cedar has seen a later head of ash in another study; together with the headers named it says all it has seen."""
    header = after_one.headers["ash", 1, 1].statement
    elsewhere = header.model_copy(
        update={
            "view": header.view.model_copy(update={"study": "other-00000000", "base": 0}),
            "ledger": HeadReference(number=500, hash="d" * 64),
        }
    )
    peers = PeerHeads(after_one.simulator.homes["cedar"].peer_heads_path)
    peers.keep([Signed[Header].sign(after_one.simulator.homes["ash"].load_identity(), elsewhere)], {})
    peers.close()
    after_one.seal(2, base=1)
    shown = {name: head_of(after_one, name, 1) for name in after_one.names}
    for name in after_one.names:
        said = shown | after_one.headers[name, 2, 1].statement.seen
        for peer in set(after_one.names) - {name}:
            assert said[peer] == newest_seen(after_one, name, peer)
    assert set(after_one.headers["cedar", 2, 1].statement.seen) == {"ash"}


def test_site_that_comes_back_says_what_the_last_round_does_not_show(found: Found) -> None:
    """Elm was in round 1 and not in round 2: no header of round 2 shows its ledger."""
    mallory = in_charge(found(small_terms(training={"rounds": 4}, evaluation={"rounds": [4]})))
    first = mallory.honest_round()
    for name in mallory.names:
        assert isinstance(mallory.open(name, *first), Opened)
    cohort = ("ash", "birch", "cedar")
    mallory.seal(2, cohort=cohort, base=1)
    blobs = [mallory.blobs[name, 2, 1] for name in cohort]
    second = (
        mallory.committed(2, cohort=cohort),
        mallory.aggregate(blobs, mallory.seeds(2, names=cohort), 2, base=1),
    )
    for name in mallory.names:
        assert isinstance(mallory.open(name, *second), Opened)
    mallory.seal(3, base=2)
    for name in cohort:
        assert mallory.headers[name, 3, 1].statement.seen == {"elm": head_of(mallory, "elm", 1)}
    assert mallory.headers["elm", 3, 1].statement.seen == {}
    mallory.seeds(3)


@pytest.mark.parametrize("behind", [1, 5])
def test_ledger_that_shows_a_lower_number_is_noticed_by_every_site(after_one: Mallory, behind: int) -> None:
    after_one.seal(2, base=1)
    shown = head_of(after_one, "ash", 1)
    resign(after_one, "ash", 2, ledger=HeadReference(number=shown.number - behind, hash="e" * 64))
    for name in OTHERS:
        words = f"shows entry {shown.number - behind} of its ledger in round 2, and has shown entry {shown.number}"
        require_noticed(after_one, name, after_one.release(name, 2), words)


def test_other_entry_of_a_number_that_was_shown_is_noticed(after_one: Mallory) -> None:
    after_one.seal(2, base=1)
    shown = head_of(after_one, "ash", 1)
    resign(after_one, "ash", 2, ledger=shown.model_copy(update={"hash": "e" * 64}))
    require_noticed(after_one, "elm", after_one.release("elm", 2), f"another entry {shown.number} of its ledger")


def test_site_that_contradicted_itself_is_refused_for_the_rest_of_the_study(after_one: Mallory) -> None:
    """Its next header may be as it should: a ledger that was put back grows past the number that gave it away."""
    after_one.seal(2, base=1)
    shown = head_of(after_one, "ash", 1)
    honest = after_one.headers["ash", 2, 1]
    resign(after_one, "ash", 2, ledger=shown.model_copy(update={"hash": "e" * 64}))
    assert isinstance(after_one.release("birch", 2), Problem)
    after_one.headers["ash", 2, 1] = honest
    require_noticed(
        after_one, "birch", after_one.release("birch", 2), f"another entry {shown.number} of its ledger"
    )
    paid = after_one.simulator.entries("birch", "reserve")
    require_refused(after_one.train("birch", 3, base=1), "release-refused", "another entry")
    assert after_one.simulator.entries("birch", "reserve") == paid
    after_one.simulator.restart_site("birch")
    peers = PeerHeads(after_one.simulator.homes["birch"].peer_heads_path)
    assert "ash" in peers.list_refusals(after_one.simulator.study)
    assert isinstance(after_one.release("elm", 2), Released)  # it was shown nothing of this


def test_two_headers_for_one_attempt_are_noticed_by_who_has_both(mallory: Mallory) -> None:
    mallory.seal()
    before = dict(mallory.headers)
    assert isinstance(mallory.release("birch"), Released)
    shown = head_of(mallory, "ash", 1)
    resign(mallory, "ash", 1, ledger=HeadReference(number=shown.number + 3, hash="e" * 64))
    require_noticed(mallory, "birch", mallory.release("birch"), "has signed two headers for attempt 1 of round 1")
    mallory.headers = before
    assert isinstance(mallory.release("cedar"), Released)


def test_other_header_in_the_aggregate_than_before_the_release_is_noticed(mallory: Mallory) -> None:
    aggregate = mallory.honest_round()[1]
    shown = head_of(mallory, "ash", 1)
    resign(mallory, "ash", 1, ledger=HeadReference(number=shown.number + 3, hash="e" * 64))
    require_noticed(mallory, "birch", mallory.open("birch", mallory.committed(), aggregate), "signed two headers")


def test_header_with_another_signature_than_the_kept_one_is_not_taken_for_it(mallory: Mallory) -> None:
    """A header that was verified before the release is not verified again: it is, if one bit of it is another."""
    aggregate = mallory.honest_round()[1]
    other = mallory.headers["cedar", 1, 1].signature
    mallory.headers["ash", 1, 1] = mallory.headers["ash", 1, 1].model_copy(update={"signature": other})
    reply = mallory.open("birch", mallory.committed(), aggregate)
    require_refused(reply, "opening-failed", "signature")


def test_two_ledgers_shown_to_two_sites_are_noticed_whatever_their_numbers(found: Found) -> None:
    """Elm missed the round and opens it with another header of ash than the others have: then no view is shared."""
    mallory = in_charge(found(small_terms(training={"rounds": 4}, evaluation={"rounds": [4]})))
    cohort = ("ash", "birch", "cedar")
    mallory.seal(cohort=cohort)
    blobs = [mallory.blobs[name, 1, 1] for name in cohort]
    aggregate = mallory.aggregate(blobs, mallory.seeds(names=cohort))
    for name in cohort:
        assert isinstance(mallory.open(name, mallory.committed(cohort=cohort), aggregate), Opened)
    shown = head_of(mallory, "ash", 1)
    resign(mallory, "ash", 1, ledger=HeadReference(number=shown.number + 3, hash="e" * 64))
    assert isinstance(mallory.open("elm", mallory.committed(cohort=cohort), aggregate), Opened)
    mallory.seal(2, base=1)
    for name in mallory.names:
        require_refused(mallory.release(name, 2), "release-refused", "another view of the round")


def test_claim_to_have_seen_another_ledger_of_a_third_site_stops_the_release_and_names_both(
    after_one: Mallory,
) -> None:
    """Birch and cedar were shown two ledgers of ash in another study; or cedar lies: only people can tell."""
    after_one.seal(2, base=1)
    seen = {"ash": head_of(after_one, "ash", 1).model_copy(update={"hash": "e" * 64})}
    resign(after_one, "cedar", 2, seen=seen)
    for name in ("birch", "elm"):
        words = f"'cedar' has seen another entry {seen['ash'].number} of the ledger of 'ash' than this site"
        require_noticed(after_one, name, after_one.release(name, 2), words)


def test_site_whose_ledger_others_have_seen_further_refuses_at_once(after_one: Mallory) -> None:
    """Cedar has seen a later head of ash in another study, and says so in its header."""
    after_one.seal(2, base=1)
    seen = after_one.headers["cedar", 2, 1].statement.seen
    resign(after_one, "cedar", 2, seen={**seen, "ash": HeadReference(number=500, hash="d" * 64)})
    words = "'cedar' has seen entry 500 of the ledger of 'ash', which is not in it"
    require_noticed(after_one, "ash", after_one.release("ash", 2), words)


def test_number_below_what_another_site_had_seen_is_noticed(mallory: Mallory) -> None:
    """The same, and ash's program looks away: in the next round it shows less than cedar had seen before."""
    mallory.seal()
    seeds = mallory.seeds(names=("ash", "cedar"))
    seen = mallory.headers["cedar", 1, 1].statement.seen
    resign(mallory, "cedar", 1, seen={**seen, "ash": HeadReference(number=500, hash="d" * 64)})
    seeds |= mallory.seeds(names=("birch", "elm"))
    aggregate = mallory.aggregate([mallory.blobs[name, 1, 1] for name in mallory.names], seeds)
    for name in ("birch", "elm"):
        assert isinstance(mallory.open(name, mallory.committed(), aggregate), Opened)
        assert isinstance(mallory.train(name, 2, base=1), Sealed)
    view = mallory.headers["birch", 2, 1].statement.view
    for name in ("ash", "cedar"):
        mallory.headers[name, 2, 1] = mallory.headers[name, 1, 1]
        resign(mallory, name, 2, view=view)
    words = "shows entry 7 of its ledger in round 2, and 'cedar' had seen entry 500 by round 1".replace(
        "7", str(head_of(mallory, "ash", 2).number)
    )
    require_noticed(mallory, "birch", mallory.release("birch", 2), words)


def test_rolled_back_ledger_is_noticed_by_its_own_site_from_what_peers_have_seen(found: Found) -> None:
    """A new study, a new session, and a coordinator that countersigns the old head: ash's program is honest."""
    simulator = found(small_terms(training={"rounds": 2}, evaluation={"rounds": []}))
    copy = simulator.snapshot("ash")
    simulator.run()
    simulator.put_back("ash", copy)
    simulator.launch()
    mallory = in_charge(simulator)
    mallory.seal()  # the coordinator shows ash nothing that it lacks
    reply = mallory.release("ash")
    require_noticed(
        mallory, "ash", reply, "of the ledger of 'ash', which is not in it: it was rolled back or copied"
    )
    assert mallory.headers["birch", 1, 1].statement.seen["ash"].number > head_of(mallory, "ash", 1).number


def test_ledger_alone_put_back_is_noticed_by_its_site_from_the_header_that_all_have_seen(
    after_one: Mallory,
) -> None:
    """No header of the next round repeats what it showed; its own header of the last round lies beside the ledger."""
    simulator = after_one.simulator
    after_one.seal(2, base=1)
    simulator.sites["ash"].close()
    path = simulator.homes["ash"].ledger_path
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()
    with Ledger.create(path, simulator.homes["ash"].load_identity(), "ash") as ledger:
        ledger.record_refusal(simulator.study, "policy", "another beginning")
    simulator.sites["ash"] = simulator._start("ash")
    reply = after_one.release("ash", 2)
    words = f"have seen entry {head_of(after_one, 'ash', 1).number} of the ledger of 'ash', which is not in it"
    require_noticed(after_one, "ash", reply, words)


@pytest.mark.parametrize(("less", "hash"), [(1, "c"), (0, "c"), (-3, "c"), (0, "")])
def test_restored_ledger_is_believed_if_it_took_over_what_was_seen(
    after_one: Mallory, less: int, hash: str
) -> None:
    """As the coordinator's witness believes it. A site need not have seen all that was taken over."""
    after_one.seal(2, base=1)
    shown = head_of(after_one, "ash", 1)
    lost = LostHead(number=shown.number - less, hash=hash * 64 or shown.hash)
    resign(after_one, "ash", 2, ledger=HeadReference(number=5, hash="d" * 64, recovered=lost))
    reply = after_one.release("birch", 2)
    newest = newest_seen(after_one, "birch", "ash")
    if less > 0 or (less == 0 and hash):
        require_noticed(after_one, "birch", reply, "'ash'")
        assert newest == shown
    else:
        assert isinstance(reply, Released)
        assert newest.number == 5


def test_site_that_recovered_takes_part_in_the_next_study(found: Found) -> None:
    """Nobody is locked out for good: peers believe the restored ledger as the coordinator's witness does."""
    simulator = found(small_terms(training={"rounds": 3}))
    simulator.run(lambda: 1 in committed(simulator))
    copy = simulator.snapshot("ash")
    simulator.run(seconds=5)
    simulator.put_back("ash", copy)
    seen = simulator.federation.open_witness().read_newest_head("ash")
    assert seen is not None
    simulator.sites["ash"].close()
    with simulator.homes["ash"].open_ledger() as ledger:
        ledger.recover(seen, simulator.federation.load_identity().public)
    simulator.sites["ash"] = simulator._start("ash")
    simulator.journal.close()
    simulator.launch()
    simulator.run(lambda: 2 in committed(simulator), seconds=5)
    assert all("ash" in each.committed.cohort for each in committed(simulator).values())
    newest = PeerHeads(simulator.homes["elm"].peer_heads_path).list_newest(["ash"])["ash"]
    assert newest.recovered is not None
    assert newest.recovered.hash == seen.head.statement.hash
    findings = compare([], [ledger_of(simulator.homes["ash"].ledger_path)], [seen_by(simulator, "elm")])
    assert findings
    assert {each.weight for each in findings} == {Weight.REMARK}


def test_site_without_its_file_of_seen_heads_is_out_alone(after_one: Mallory) -> None:
    """It could not tell what the others have seen; its header would stop them."""
    simulator = after_one.simulator
    simulator.sites["elm"].close()
    for path in simulator.homes["elm"].folder.glob("peers.sqlite*"):
        path.unlink()
    simulator.sites["elm"] = simulator._start("elm")
    after_one.key(2)
    reply = after_one.train("elm", 2, epoch=2, base=1)
    require_refused(reply, "lost", "what this site has seen of the others' ledgers in round 1 is lost")


# What the auditor finds ----------------------------------------------------------------------------------------


@pytest.fixture
def finished(found: Found) -> Simulator:
    simulator = found(small_terms(training={"rounds": 3}, evaluation={"rounds": [3]}))
    simulator.run()
    return simulator


def test_honest_sites_testify_what_ledgers_say(finished: Simulator) -> None:
    ledgers = [ledger_of(finished.homes[name].ledger_path) for name in finished.names]
    sites = [seen_by(finished, name) for name in finished.names]
    assert [len(each.headers) for each in sites] == [
        3 * 4
    ] * 4  # three others, three rounds and the last evaluation
    assert compare([], ledgers, sites) == []


def test_ledger_that_was_put_back_and_grew_past_what_was_shown_is_found_by_one_site(finished: Simulator) -> None:
    """No number gives it away in the study; the auditor looks up what elm has seen."""
    with Ledger.create(finished.folder / "second.sqlite", finished.homes["ash"].load_identity(), "ash") as ledger:
        for number in range(60):
            ledger.record_refusal(finished.study, "policy", f"this site never took part ({number})")
    second = ledger_of(finished.folder / "second.sqlite")
    said = contradictions(compare([], [second], [seen_by(finished, "elm")]), "ash")
    assert sum("'elm' has its signature on entry" in each for each in said) == 4
    assert sum("its ledger has no payment for it" in each for each in said) == 4
    finished.journal.close()
    finished.launch()  # in the first round of another study, headers say what was seen in this one
    finished.run()
    said = contradictions(compare([], [second], [seen_by(finished, "elm")]), "ash")
    assert any("'birch' has signed that it has seen entry" in each for each in said)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"ledger": HeadReference(number=1000, hash="e" * 64)},
            "it has signed two headers for attempt 1 of round 2",
        ),
        ({"ledger": HeadReference(number=1, hash="e" * 64)}, "it showed entry 1 of its ledger in round 2"),
    ],
)
def test_two_sites_that_were_shown_two_ledgers_find_it_without_either(
    finished: Simulator, changes: dict[str, HeadReference], words: str
) -> None:
    birch, elm = seen_by(finished, "birch"), seen_by(finished, "elm")
    assert compare([], [], [birch, elm]) == []
    place = next(
        place
        for place, each in enumerate(elm.headers)
        if (each.header.statement.site, each.header.statement.view.round) == ("ash", 2)
    )
    other = elm.headers[place].header.statement.model_copy(update=changes)
    signed = Signed[Header].sign(finished.homes["ash"].load_identity(), other)
    elm.headers[place] = elm.headers[place].model_copy(update={"header": signed})
    assert any(words in each for each in contradictions(compare([], [], [birch, elm]), "ash"))


def test_round_that_coordinator_and_site_both_hide_is_found_by_a_peer(finished: Simulator) -> None:
    """The coordinator's testimony and ash's second ledger agree that nothing happened; birch has ash's signature."""
    with Ledger.create(finished.folder / "second.sqlite", finished.homes["ash"].load_identity(), "ash") as ledger:
        ledger.record_refusal(finished.study, "policy", "this site never took part")
    second = ledger_of(finished.folder / "second.sqlite")
    assert contradictions(compare([], [second], [seen_by(finished, "birch")]), "ash")
