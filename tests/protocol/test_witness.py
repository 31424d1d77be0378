"""A site's ledger put back to an older one, or used twice: noticed before training, and mended in the open."""

import shutil

import pytest

from benchmarks.small_study import small_terms
from client.commands.status import list_site_facts
from client.study.activity_log import ActivityLog
from privacy.errors import WireError
from privacy.ledger import Ledger
from privacy.ledger.entries import Recover
from privacy.protocol.envelope import Envelope, read_body
from privacy.protocol.messages import Sealed
from privacy.study import COORDINATOR
from server.study.notes import Remark
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished
from tests.protocol.mallory import Mallory, require_refused
from tests.protocol.moments import THREE, committed
from tests.simulator import Simulator

ROUNDS = 4


@pytest.fixture
def simulator(found: Found) -> Simulator:
    """Three sites, of whom none can be spared: the others wait for one that was restarted."""
    return found(small_terms(training={"rounds": ROUNDS}), names=THREE)


def test_every_head_that_a_site_showed_is_countersigned_and_in_its_ledger(simulator: Simulator) -> None:
    simulator.run()
    require_finished(simulator)
    witness = simulator.federation.open_witness()
    for name in simulator.names:
        heads = [each.head.statement for each in witness.read_heads() if each.head.statement.site == name]
        assert len(heads) == 1 + ROUNDS + 1  # joined, each round, closed
        with simulator.homes[name].open_ledger() as ledger:
            assert all(ledger.read_state().contains(head.number, head.hash) for head in heads)
        assert len(simulator.entries(name, "checkpoint")) == ROUNDS
        kept = simulator.homes[name].load_witnessed()
        assert kept is not None
        assert kept.head.statement in heads


def test_train_without_a_countersigned_head_is_refused(mallory: Mallory) -> None:
    mallory.witnessed.clear()
    require_refused(
        mallory.train("ash"), "refused", "carries the newest head that the coordinator has seen of the ledger"
    )


def test_train_with_a_head_that_somebody_else_countersigned_is_refused(mallory: Mallory) -> None:
    stranger = mallory.simulator.homes["birch"].load_identity()
    head = mallory.witnessed["ash"].head
    mallory.witnessed["ash"] = type(mallory.witnessed["ash"]).sign(stranger, COORDINATOR, head)
    require_refused(mallory.train("ash"), "refused", "countersigned head cannot be believed")
    assert not mallory.simulator.trained


def test_site_put_back_to_a_snapshot_trains_nothing_and_says_so_in_its_ledger(simulator: Simulator) -> None:
    simulator.run(lambda: 1 in committed(simulator))
    copy = simulator.snapshot("ash")
    simulator.run(lambda: 3 in committed(simulator), seconds=5)
    trained = simulator.trained["ash", 4]
    simulator.put_back("ash", copy)
    simulator.run(seconds=5)
    assert simulator.trained["ash", 4] == trained == 0
    incident = simulator.entries("ash", "incident")[-1].body
    assert getattr(incident, "code", "") == "rollback"
    assert "rolled back" in (simulator.journal.read_history().stopped or "")


def test_restored_ledger_takes_over_what_was_seen_and_spends_what_was_open(simulator: Simulator) -> None:
    simulator.run(lambda: 1 in committed(simulator))
    copy = simulator.snapshot("ash")
    simulator.run(lambda: 3 in committed(simulator), seconds=5)
    with simulator.homes["ash"].open_ledger() as ledger:
        lost = ledger.read_state().list_budgets()[0].grants[0]
    simulator.sites["ash"].close()
    for path in simulator.homes["ash"].folder.glob("ledger.sqlite*"):
        path.unlink()
    shutil.copy(copy / "ledger.sqlite", simulator.homes["ash"].ledger_path)
    seen = simulator.federation.open_witness().read_newest_head("ash")
    assert seen is not None
    with simulator.homes["ash"].open_ledger() as ledger:
        ledger.recover(seen, simulator.federation.load_identity().public)
        restored = ledger.read_state().list_budgets()[0].grants[0]
    assert restored.set_aside == 0
    assert restored.spent >= lost.spent + lost.set_aside
    simulator.sites["ash"] = simulator._start("ash")
    simulator.run(seconds=5)
    assert simulator.trained["ash", 4] == 0
    assert "ash" in simulator.journal.read_history().out


def test_recovered_ledger_is_believed_by_its_witness_and_takes_part_in_the_next_study(simulator: Simulator) -> None:
    simulator.run(lambda: 1 in committed(simulator))
    copy = simulator.snapshot("ash")
    simulator.run(seconds=5)
    simulator.put_back("ash", copy)
    seen = simulator.federation.open_witness().read_newest_head("ash")
    assert seen is not None
    simulator.sites["ash"].close()
    with simulator.homes["ash"].open_ledger() as ledger:
        ledger.recover(seen, simulator.federation.load_identity().public)
        assert isinstance(list(ledger.read_entries())[-1].body, Recover)
    simulator.sites["ash"] = simulator._start("ash")
    simulator.journal.close()
    simulator.launch()
    simulator.run(lambda: 1 in committed(simulator), seconds=5)
    newest = simulator.federation.open_witness().read_newest_head("ash")
    assert newest is not None
    assert newest.head.statement.recovered == seen.head.statement.hash


def test_copy_of_a_machine_in_use_beside_it_is_noticed(simulator: Simulator) -> None:
    """The copy answers one request; then each has a head that the other does not hold."""
    simulator.run(lambda: 1 in committed(simulator))
    copy = simulator.snapshot("ash")
    simulator.run(lambda: 2 in committed(simulator), seconds=5)
    simulator.put_back("ash", copy)  # the copy is asked from now on
    simulator.run(seconds=5)
    assert "a copy of it is in use elsewhere" in (simulator.journal.read_history().stopped or "")


def test_two_ledgers_shown_to_one_witness_are_refused(simulator: Simulator) -> None:
    """Two copies that add different entries show two entries of one number."""
    simulator.run(lambda: 1 in committed(simulator))
    copy = simulator.snapshot("ash")
    identity = simulator.homes["ash"].load_identity()
    heads = []
    for path, code in ((simulator.homes["ash"].ledger_path, "one"), (copy / "ledger.sqlite", "two")):
        with Ledger.open(path, identity) as ledger:
            ledger.record_incident(simulator.study, code, "they differ")
            heads.append(ledger.sign_head())
    witness = simulator.federation.open_witness()
    witness.countersign(heads[0])
    witness.countersign(heads[0])
    with pytest.raises(WireError, match="two copies of the ledger are in use"):
        witness.countersign(heads[1])


def test_recovery_from_an_older_head_than_the_newest_seen_is_refused(simulator: Simulator) -> None:
    simulator.run(lambda: 1 in committed(simulator))
    copy = simulator.snapshot("ash")
    simulator.run(lambda: 2 in committed(simulator), seconds=5)
    older = simulator.federation.open_witness().read_newest_head("ash")
    simulator.run(lambda: 3 in committed(simulator), seconds=5)
    assert older is not None
    with Ledger.open(copy / "ledger.sqlite", simulator.homes["ash"].load_identity()) as ledger:
        ledger.recover(older, simulator.federation.load_identity().public)
        head = ledger.sign_head()
    with pytest.raises(WireError, match="without taking over the newest head"):
        simulator.federation.open_witness().countersign(head)


def test_head_of_another_sites_ledger_is_that_sites_loss(simulator: Simulator) -> None:
    with simulator.homes["birch"].open_ledger() as ledger:
        birch = ledger.sign_head()

    def lie(name: str, reply: Envelope) -> Envelope:
        content = read_body(reply).content
        if name != "ash" or not isinstance(content, Sealed):
            return reply
        return simulator.forged("ash", reply, content.model_copy(update={"ledger": birch}), *reply.blobs)

    simulator.transport.replies = lie
    simulator.run(seconds=10)
    assert any(
        "its reply is refused" in note.text for note in simulator.journal.read_notes() if isinstance(note, Remark)
    )
    assert all("ash" not in each.committed.cohort for each in committed(simulator).values())


def test_site_put_back_says_so_itself_before_it_takes_part_in_anything_new(simulator: Simulator) -> None:
    """Its screen and its log, its status, and the next start; until it has recovered."""
    simulator.run(lambda: 1 in committed(simulator))
    copy = simulator.snapshot("ash")
    simulator.run(lambda: 3 in committed(simulator), seconds=5)
    simulator.put_back("ash", copy)
    shown: list[str] = []
    simulator.sites["ash"]._activity = ActivityLog(shown.append)
    simulator.run(seconds=5)
    said = [line for line in shown if "rolled back" in line]
    assert "refuses a round (refused): entry" in said[0]
    assert all("refuses" in line for line in said)
    home = simulator.homes["ash"]
    assert "consilium-site ledger recover" in list_site_facts(home)["rolled_back"]
    seen = simulator.federation.open_witness().read_newest_head("ash")
    assert seen is not None
    simulator.sites["ash"].close()
    with home.open_ledger() as ledger:
        ledger.recover(seen, simulator.federation.load_identity().public)
    assert list_site_facts(home)["rolled_back"] is None
    assert [each["state"] for each in list_site_facts(home)["studies"]] == ["ended"]
