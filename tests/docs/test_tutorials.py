"""The tutorials up to the point where programs keep running: three hospitals are enrolled as the pages say."""

import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from privacy.audit.check_ledger import check_ledger
from server.demo.hospitals import make_breast_cancer_hospitals
from tests.docs.commands import PROGRAMS
from tests.docs.pages import ROOT, lines_below, typed

TUTORIALS = ROOT / "docs" / "tutorials"
SITES = ("north", "south", "east")
LASTING = (
    *("up", "study launch", "study list", "study watch", "study stop", "study resume", "demo", "simulate"),
    *("study show", "study compare", "study give-up", "study feasibility", "study statistics", "ledger clock"),
    *("testimony head", "withdraw", "predict", "approve STUDY", "check"),
)
"""What needs a running coordinator or a study, or keeps running; the tests of whole federations show it."""


class Terminal:
    """A shell in ``folder``, as far as the tutorials need one. ``words`` says what stands for a placeholder."""

    def __init__(self, folder: Path, words: dict[str, str]) -> None:
        self.folder = folder
        self.words = words
        self.environment: dict[str, str] = {}

    def run(self, typed_words: tuple[str, ...]) -> str:
        """Run one line in this process; what it printed on stdout."""
        words = [self.words.get(word, word) for word in typed_words]
        if words[0] == "export":
            key, _, value = words[1].partition("=")
            self.environment[key] = value
            return ""
        command: click.Group = PROGRAMS[words[0]]
        result = CliRunner().invoke(command, words[1:], env=self.environment, catch_exceptions=False)
        assert result.exit_code == 0, f"{' '.join(words)}: {result.stderr}"
        return result.stdout


QUICK = {"site.md": "In ten commands", "coordinator.md": "In nine commands"}
"""The section that comes first, which tests/deploy/test_tutorial_walk.py follows between machines."""


def lines(page: str) -> list[tuple[str, ...]]:
    """The command lines of a tutorial that end by themselves, without those of its quick path."""
    found = [line.words for line in typed(TUTORIALS / page)]
    found = found[len(lines_below(TUTORIALS / page, QUICK[page])) if page in QUICK else 0 :]
    return [words for words in found if not " ".join(words[1:]).startswith(LASTING) and words[-1] != "sites"]


def site_lines(site: str, page: str = "site.md") -> list[tuple[str, ...]]:
    """The site tutorial's lines, or those of another page, as another site's people would type them."""
    return [tuple(word.replace("north", site) for word in words) for words in lines(page)]


def steps(found: list[tuple[str, ...]], first: str, after: str = "") -> list[tuple[str, ...]]:
    """The lines from the one that contains ``first`` to before the one that contains ``after``."""
    texts = [" ".join(words) for words in found]
    start = next(place for place, text in enumerate(texts) if first in text)
    end = next((place for place, text in enumerate(texts) if after and after in text), len(texts))
    return found[start:end]


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which three hospitals have followed the tutorials up to ``consilium-site up``."""
    folder = tmp_path_factory.mktemp("tutorial")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        follow_tutorials(folder)
    return folder


def follow_tutorials(folder: Path) -> None:
    shutil.copy(ROOT / "examples" / "breast_cancer.yaml", folder / "study.yaml")
    hospitals = dict(zip(SITES, make_breast_cancer_hospitals(seed=0), strict=False))
    keys: dict[str, str] = {}
    operator = Terminal(folder, keys)
    people = {site: Terminal(folder, keys) for site in SITES}

    coordinator = lines("coordinator.md")
    for words in steps(coordinator, "init federation", "admit north.request"):
        operator.run(words)
    for site, terminal in people.items():
        for words in steps(site_lines(site), "init", "join --request"):
            printed = terminal.run(words)
            keys |= {f"KEY-OF-{site.upper()}": printed.strip()} if words[1] == "init" else {}
        terminal.run(next(words for words in site_lines(site) if "--request" in words))
        (admit,) = steps(coordinator, "admit north.request", "study check")
        operator.run((*(word.replace("north", site) for word in admit), "--yes"))  # what they answer at a terminal
        terminal.run(next(words for words in site_lines(site) if "--admission" in words))
    for words in steps(coordinator, "study check"):
        operator.run(words)
    for site, terminal in people.items():
        for path in hospitals[site].write(folder):
            assert path.exists()
        keys["P-1017"] = hospitals[site].train["patient"].iloc[0]
        for words in steps(site_lines(site), "peer trust"):
            terminal.run(peers_of(site, words))
        for words in site_lines(site, "data-protection-officer.md"):
            if words[0] != "export":
                terminal.run(words)


def peers_of(site: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """A site pins the others: where the tutorial of ``north`` names this site as a peer, it names ``north``."""
    swapped = {site: "north", f"KEY-OF-{site.upper()}": "KEY-OF-NORTH"}
    return tuple(swapped.get(word, word) for word in words)


@pytest.mark.parametrize("site", SITES)
def test_site_that_followed_the_tutorial_is_ready(enrolled: Path, site: str) -> None:
    terminal = Terminal(enrolled, {})
    status = terminal.run(("consilium-site", "--dir", str(enrolled / f"site-{site}"), "status"))
    for fact in (site, "wisconsin-diagnostic", ", ".join(sorted(set(SITES) - {site}))):
        assert fact in status
    assert "not joined" not in status


def test_auditor_who_follows_the_tutorial_verifies_file_and_export(
    enrolled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(enrolled)
    shutil.copy(enrolled / "site-north" / "ledger.sqlite", enrolled / "ledger.sqlite")
    key = check_ledger(enrolled / "north.jsonl", None).key
    verify, compared = [words for words in lines("auditor.md") if words[:2] == ("consilium-audit", "verify")]
    head = check_ledger(enrolled / "north.jsonl", None).head
    terminal = Terminal(enrolled, {"KEY-OF-NORTH": key, "HEAD-OF-NORTH": head})
    assert f"{head} (as given)" in terminal.run(compared)
    assert "granted    epsilon 6, delta 0.0001" in terminal.run(verify)
    exported = tuple("north.jsonl" if word == "ledger.sqlite" else word for word in verify)
    assert "granted    epsilon 6, delta 0.0001" in terminal.run(exported)


def test_auditor_who_follows_the_tutorial_reports_and_reconciles(
    enrolled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(enrolled)
    terminal = Terminal(enrolled, {"KEY-OF-NORTH": check_ledger(enrolled / "north.jsonl", None).key})
    found = {words[1]: words for words in lines("auditor.md") if words[0] == "consilium-audit"}
    terminal.run(found["report"])
    assert "wisconsin-diagnostic" in (enrolled / "north.html").read_text(encoding="utf-8")
    assert "2 ledgers (north, south): 0 contradictions, 0 remarks" in terminal.run(found["reconcile"])
