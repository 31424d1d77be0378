"""What witnesses saw beside what ledgers say: honest studies agree, and every lie is found."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.small_study import small_terms
from privacy.audit.cli import cli
from privacy.audit.commands.reconcile import compare
from privacy.audit.read_ledger import read_ledger
from privacy.audit.site_ledger import Discrepancy, SiteLedger, Weight
from privacy.errors import LedgerError
from privacy.keys import SigningKey
from privacy.ledger import Ledger
from privacy.ledger.signed_head import Countersigned
from privacy.ledger.state import LedgerState
from privacy.ledger.testimony import HeadSeen, Opening, RoundSeen, StudySeen, format_testimony, read_testimony
from privacy.ledger.testimony import Testimony as Shown
from server.federation.testimony import write_testimony
from tests.protocol.conftest import Found
from tests.protocol.moments import committed
from tests.simulator import Simulator

ROUNDS = 3


@pytest.fixture
def simulator(found: Found) -> Simulator:
    simulator = found(small_terms(training={"rounds": ROUNDS}, evaluation={"rounds": [2, ROUNDS]}))
    simulator.run()
    return simulator


@pytest.fixture
def folder(simulator: Simulator) -> Path:
    """The coordinator's testimony and every site's export."""
    folder = simulator.folder / "audit"
    folder.mkdir()
    write_testimony(simulator.federation, folder / "testimony.jsonl")
    for name in simulator.names:
        with simulator.homes[name].open_ledger() as ledger:
            (folder / f"{name}.jsonl").write_bytes(b"".join(ledger.export_lines()))
    return folder


def site_ledger(path: Path) -> SiteLedger:
    found = SiteLedger(LedgerState())
    _, found.ledger = read_ledger(path, watch=found.apply)
    return found


def found_in(
    folder: Path, change: Callable[[Shown], object] = lambda _: None, site: str = "ash"
) -> list[Discrepancy]:
    testimony = read_testimony(folder / "testimony.jsonl")
    change(testimony)
    return compare([testimony], [site_ledger(folder / f"{site}.jsonl")])


def test_honest_study_reconciles(simulator: Simulator, folder: Path) -> None:
    result = CliRunner().invoke(cli, ["reconcile", *map(str, sorted(folder.iterdir()))])
    assert result.exit_code == 0, result.output
    assert f"compared {ROUNDS + 1} rounds" in result.output
    assert "with 4 ledgers (ash, birch, cedar, elm): 0 contradictions, 0 remarks" in result.output


def test_site_left_out_of_a_round_it_paid_for_is_a_remark(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": ROUNDS}))
    simulator.run(lambda: 1 in committed(simulator))
    simulator.transport.replies = lambda name, reply: None if name == "ash" else reply
    simulator.run(lambda: 2 in committed(simulator), seconds=30)
    simulator.transport.replies = lambda _, reply: reply
    simulator.run(seconds=5)
    path = simulator.folder / "testimony.jsonl"
    write_testimony(simulator.federation, path)
    (finding,) = compare([read_testimony(path)], [site_ledger(simulator.homes["ash"].ledger_path)])
    assert finding.weight is Weight.REMARK
    assert "paid for round 2" in finding.sentence
    assert "is not in its sum" in finding.sentence


def test_round_that_the_coordinator_keeps_back_is_found(simulator: Simulator, folder: Path) -> None:
    (finding,) = found_in(folder, lambda testimony: testimony.rounds.pop((simulator.study, 2)))
    assert "paid for round 2" in finding.sentence
    assert "of which the coordinator shows no sum" in finding.sentence


def test_round_without_a_payment_is_found(simulator: Simulator, folder: Path) -> None:
    """A site that keeps a second, cheaper ledger shows it to its auditor."""
    identity = simulator.homes["ash"].load_identity()
    with Ledger.create(folder / "second.sqlite", identity, "ash") as ledger:
        ledger.record_refusal(simulator.study, "policy", "this site never took part")
    findings = compare([read_testimony(folder / "testimony.jsonl")], [site_ledger(folder / "second.sqlite")])
    sentences = [each.sentence for each in findings if each.weight is Weight.CONTRADICTION]
    assert sum("its ledger has no payment for it" in each for each in sentences) == ROUNDS + 1
    assert sum("is not in the ledger" in each for each in sentences) == len(sentences) - ROUNDS - 1 > 0


def test_terms_that_differ_are_found(simulator: Simulator, folder: Path) -> None:
    def change(testimony: Shown) -> None:
        seen = testimony.studies[simulator.study]
        testimony.studies[simulator.study] = seen.model_copy(update={"terms": "f" * 64})

    (finding,) = found_in(folder, change)
    assert finding.weight is Weight.CONTRADICTION
    assert "the coordinator launched it under ffffffffffffffff" in finding.sentence


def test_head_that_the_coordinator_countersigned_and_does_not_show_is_found(folder: Path) -> None:
    def change(testimony: Shown) -> None:
        testimony.heads = [each for each in testimony.heads if each.head.statement.site != "ash"]

    findings = found_in(folder, change)
    assert len(findings) == len({1, 2, 3, 4})  # a checkpoint in each of four exchanges
    assert all("its testimony does not show" in each.sentence for each in findings)


def test_two_ledgers_shown_to_two_witnesses_are_found(simulator: Simulator, folder: Path) -> None:
    first, second = (read_testimony(folder / "testimony.jsonl") for _ in range(2))
    shown = first.heads[0].head.statement
    identity = simulator.homes[shown.site].load_identity()
    other = type(first.heads[0].head).sign(identity, shown.model_copy(update={"hash": "e" * 64}))
    second.heads = [Countersigned.sign(SigningKey.generate(), "board", other)]
    (finding,) = compare([first, second], [])
    assert finding.site == shown.site
    assert f"2 different entries {shown.number}" in finding.sentence


def reconciled(*files: Path) -> str:
    result = CliRunner().invoke(cli, ["reconcile", *map(str, files)])
    assert result.exit_code in (0, 2) or isinstance(result.exception, LedgerError), result.output
    return result.output


def test_copy_given_twice_counts_once(simulator: Simulator, folder: Path) -> None:
    ledger, testimony = folder / "ash.jsonl", folder / "testimony.jsonl"
    once = reconciled(testimony, ledger)
    assert "1 ledger (ash): 0 contradictions, 0 remarks" in once
    assert reconciled(testimony, ledger, testimony, ledger, simulator.homes["ash"].ledger_path) == once


def test_older_copy_beside_a_newer_one_counts_not_at_all(simulator: Simulator, folder: Path) -> None:
    older = folder / "ash.jsonl"
    with simulator.homes["ash"].open_ledger() as ledger:
        ledger.record_refusal("other-study", "policy", "not allowed here")
        (folder / "newer.jsonl").write_bytes(b"".join(ledger.export_lines()))
    assert "1 ledger (ash): 0 contradictions, 0 remarks" in reconciled(
        folder / "testimony.jsonl", older, folder / "newer.jsonl"
    )


def test_two_ledgers_of_one_site_that_part_ways_are_found(simulator: Simulator, folder: Path) -> None:
    with Ledger.create(folder / "second.sqlite", simulator.homes["ash"].load_identity(), "ash") as ledger:
        ledger.record_refusal("other-study", "policy", "this site never took part")
    findings = compare(
        [read_testimony(folder / "testimony.jsonl")],
        [site_ledger(folder / name) for name in ("ash.jsonl", "second.sqlite")],
    )
    assert any("two of its ledgers were given that part ways" in each.sentence for each in findings)


def test_nothing_to_compare_with_is_a_mistake_that_names_the_command(folder: Path) -> None:
    """walk.md 21: one testimony alone was "0 contradictions", and the other sentence named no command that is there."""
    assert "consilium-site ledger export FILE" in reconciled(folder / "testimony.jsonl")
    assert "consilium testimony export FILE" in reconciled(folder / "ash.jsonl", folder / "elm.jsonl")


def test_command_lists_contradictions_and_exits_with_its_code(simulator: Simulator, folder: Path) -> None:
    key = simulator.federation.load_identity()
    testimony = read_testimony(folder / "testimony.jsonl")
    items: list[Opening | StudySeen | RoundSeen | HeadSeen] = [
        testimony.opening,
        *(each.model_copy(update={"terms": "f" * 64}) for each in testimony.studies.values()),
        *testimony.rounds.values(),
        *(HeadSeen(countersigned=each) for each in testimony.heads),
    ]
    (folder / "testimony.jsonl").write_bytes(b"".join(format_testimony(items, key)))
    arguments = ["reconcile", str(folder / "ash.jsonl"), str(folder / "testimony.jsonl")]
    result = CliRunner().invoke(cli, arguments)
    assert "contradiction  ash: it admitted the study" in result.stdout
    assert getattr(result.exception, "exit_code", None) == 29


def test_every_changed_byte_and_every_cut_of_a_testimony_is_detected(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": 1}, evaluation={"rounds": []}))
    simulator.run(lambda: simulator.all_have(0))
    path = simulator.folder / "testimony.jsonl"
    write_testimony(simulator.federation, path)
    whole = path.read_bytes()
    read_testimony(path)
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(LedgerError):
            read_testimony(path)
    for length in range(0, len(whole), 11):
        path.write_bytes(whole[:length])
        with pytest.raises(LedgerError):
            read_testimony(path)
