"""What an export says of studies beside the ledger, and that nobody can make it say anything else."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.small_study import small_terms
from client.cli import cli as site_cli
from privacy.audit.cli import cli as audit_cli
from privacy.audit.commands.report import read_timeline
from privacy.audit.report.page import render_page
from privacy.canonical import to_canonical
from privacy.errors import LedgerError
from privacy.keys import SigningKey
from privacy.ledger import verify_export
from privacy.ledger.papers import Paper, SignedPaper
from privacy.study.launch import SignedLaunch
from tests.protocol.conftest import Found
from tests.simulator import Simulator


@pytest.fixture
def simulator(found: Found) -> Simulator:
    simulator = found(small_terms(evaluation={"rounds": [1, 2], "epsilon": 1.0}))
    simulator.run()
    return simulator


@pytest.fixture
def export(simulator: Simulator) -> Path:
    """As the site's people write it."""
    path = simulator.folder / "ash.jsonl"
    words = ["--dir", str(simulator.homes["ash"].folder), "ledger", "export", str(path)]
    assert CliRunner().invoke(site_cli, words, catch_exceptions=False).exit_code == 0
    return path


def text_of(page: bytes) -> str:
    class Text(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.parts: list[str] = []

        def handle_data(self, data: str) -> None:
            self.parts.append(data)

    reader = Text()
    reader.feed(page.decode("utf-8"))
    return re.sub(r"\s+", " ", " ".join(reader.parts))


def test_export_carries_the_launch_and_the_opened_figures(simulator: Simulator, export: Path) -> None:
    papers: dict[str, Paper] = {}
    verify_export(export, papers=papers)
    (paper,) = papers.values()
    assert paper.said == simulator.journal.read_launch().statement
    card = simulator.homes["ash"].find_study_folder(simulator.study) / "release" / "card.json"
    said = json.loads(card.read_bytes())
    assert [each.model_dump() for each in paper.figures] == said["figures"]
    for mine, theirs in zip(paper.scores, said["evaluation"], strict=True):
        assert (mine.after_round, mine.figures, mine.patients) == (
            theirs["after_round"],
            theirs["figures"],
            theirs["patients"],
        )


def test_page_says_what_the_study_was_about(simulator: Simulator, export: Path) -> None:
    """walk.md 15: purpose, columns, label, who took part, clipping norm and results were not on it."""
    text = text_of(render_page(read_timeline(export, simulator.homes["ash"].load_identity().public)))
    for part in (
        *("a test", "ill: yes against no, never", "age, sex", "ash, birch, cedar, elm"),
        *("this key has countersigned this ledger", "Clipping norm 1 for each patient", "a score of 0.5 or more"),
        "epsilon 3 at delta 0.001 for each training patient; epsilon 1 for each test patient",
        *("Why small-", "has several epsilons", "promised 3", "the order that shows it best", "the same at order"),
    ):
        assert part in text, part
    assert "not in this file" not in text


def test_page_of_a_copied_file_says_where_the_papers_are(simulator: Simulator) -> None:
    text = text_of(render_page(read_timeline(simulator.homes["ash"].ledger_path, None)))
    assert "not in this file" in text
    assert "consilium-site ledger export" in text


def test_reconcile_and_verify_read_an_export_with_papers(simulator: Simulator, export: Path) -> None:
    for words in (["verify", str(export)], ["report", str(export), "-o", str(export.with_suffix(".html"))]):
        assert CliRunner().invoke(audit_cli, words, catch_exceptions=False).exit_code == 0


# What a site, a coordinator or anybody on the way may try --------------------------------------------------


def rewritten(export: Path, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    """The export with its lines changed, written canonically."""
    lines = [json.loads(line) for line in export.read_bytes().splitlines()]
    change(lines)
    path = export.with_name("changed.jsonl")
    path.write_bytes(b"".join(to_canonical(line) + b"\n" for line in lines))
    return path


def place(lines: list[dict[str, Any]]) -> int:
    return next(number for number, line in enumerate(lines) if "paper" in line)


def signed_again(simulator: Simulator, line: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The paper changed and signed by the site itself, which would lie to its auditor."""
    paper = SignedPaper.model_validate(line["paper"]).statement.model_copy(update=changes)
    return {"paper": SignedPaper.sign(simulator.homes["ash"].load_identity(), paper).model_dump(mode="json")}


def other_launch(simulator: Simulator, key: SigningKey, **changes: Any) -> SignedLaunch:
    return SignedLaunch.sign(key, simulator.journal.read_launch().statement.model_copy(update=changes))


def test_paper_whose_byte_was_changed_is_refused(export: Path) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        lines[place(lines)]["paper"]["statement"]["scores"][0]["figures"]["auroc"] = 0.99

    with pytest.raises(LedgerError, match=r"line \d+: the paper of a study is not signed by the ledger's key"):
        verify_export(rewritten(export, change))


def test_site_that_shows_kinder_terms_than_it_admitted_is_found(simulator: Simulator, export: Path) -> None:
    terms = small_terms(evaluation={"rounds": [1, 2], "epsilon": 1.0}, privacy={"epsilon": 1})
    launch = other_launch(simulator, simulator.federation.load_identity(), terms=terms)

    def change(lines: list[dict[str, Any]]) -> None:
        lines[place(lines)] = signed_again(simulator, lines[place(lines)], launch=launch)

    with pytest.raises(LedgerError, match="which this ledger never admitted"):
        verify_export(rewritten(export, change))


def test_site_that_shows_another_roster_needs_the_coordinators_signature(
    simulator: Simulator, export: Path
) -> None:
    """Site and terms are bound by the ledger, the roster by the coordinator's signature."""
    launch = simulator.journal.read_launch()
    forged = launch.model_copy(update={"signature": other_launch(simulator, SigningKey.generate()).signature})

    def change(lines: list[dict[str, Any]]) -> None:
        lines[place(lines)] = signed_again(simulator, lines[place(lines)], launch=forged)

    with pytest.raises(LedgerError, match="is not signed by the key it names"):
        verify_export(rewritten(export, change))


def test_site_that_signs_the_launch_itself_is_shown_as_no_witness_of_its_ledger(
    simulator: Simulator, export: Path
) -> None:
    own = SigningKey.generate()
    launch = other_launch(simulator, own)

    def change(lines: list[dict[str, Any]]) -> None:
        lines[place(lines)] = signed_again(
            simulator, lines[place(lines)], launch=launch, coordinator=own.public.text
        )

    text = text_of(render_page(read_timeline(rewritten(export, change), None)))
    assert "this key has not countersigned this ledger" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines.insert(place(lines), lines[place(lines)]), "has a paper already"),
        (
            lambda lines: lines.insert(0, lines[place(lines)]),
            "not signed by the ledger's key|no entry yet|never admitted",
        ),
        (lambda lines: lines.insert(place(lines) + 1, lines[0]), "an entry follows the papers"),
        (lambda lines: lines.append(lines[place(lines)]), "something follows the trailer"),
        (lambda lines: lines[place(lines)].update(paper=3), "the paper"),
        (lambda lines: lines[place(lines)]["paper"]["statement"].update(secret=1), "unknown key"),
        (lambda lines: lines[place(lines)]["paper"]["statement"]["figures"].pop(), "figures that the paper lists"),
    ],
    ids=["twice", "first", "entry-after", "after-the-trailer", "no-paper", "more", "unlisted-figure"],
)
def test_export_whose_papers_are_out_of_place_is_refused(
    export: Path, change: Callable[[list[dict[str, Any]]], None], said: str
) -> None:
    with pytest.raises(LedgerError, match=said):
        verify_export(rewritten(export, change))


def test_export_without_its_papers_still_holds(export: Path) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        del lines[place(lines)]

    verify_export(rewritten(export, change))
