"""What the documents point at exists, and they keep to themselves."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, links, prose, quoted

FOLDERS = ("privacy/", "models/", "client/", "server/", "tests/", "docs/", "examples/", "benchmarks/", ".ci/")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https", link
            continue
        target = page.parent / parts.path if parts.path else page
        assert target.exists(), f"{name(page)} links to {link}"
        if parts.fragment:
            assert parts.fragment in anchors(target), f"{name(page)} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_file_that_is_named_exists(page: Path) -> None:
    for word in quoted(page):
        path = word.partition("::")[0]
        if path.startswith(FOLDERS) and " " not in path:
            assert list(ROOT.glob(path.rstrip("/"))), f"{name(page)} names {path}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_test_that_is_named_exists(page: Path) -> None:
    for word in quoted(page):
        path, colons, test = word.partition("::")
        if colons and path.endswith(".py"):
            text = (ROOT / path).read_text(encoding="utf-8")
            assert re.search(rf"^def {re.escape(test)}\(", text, re.MULTILINE), f"{name(page)} names {word}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_page_names_no_place_outside_the_repository(page: Path) -> None:
    assert not re.search(r"(?<![\w.-])/(work|home|root|mnt|Users)\b", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_page_is_plain_text_of_readable_width(page: Path) -> None:
    for line in prose(page).splitlines():
        assert len(line) <= 140 or line.startswith(("|", "#")), f"{name(page)}: {line[:60]}..."
        assert line == line.rstrip(), f"{name(page)}: {line}"


def test_document_that_code_names_exists() -> None:
    sources = [path for folder in FOLDERS[:4] for path in (ROOT / folder).rglob("*.py")]
    found = {doc for path in sources for doc in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8"))}
    assert "docs/privacy.md" in found
    assert {doc for doc in found if not (ROOT / doc).exists()} == set()


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page in reached or page not in PAGES:
            continue
        reached.add(page)
        for link in links(page):
            target = page.parent / urlsplit(link).path
            waiting += target.glob("*.md") if target.is_dir() else [target]
    assert {name(page) for page in PAGES} - {name(page) for page in reached} == set()


def test_decisions_are_numbered_and_short() -> None:
    decisions = sorted((ROOT / "docs" / "adr").glob("*.md"))
    for number, page in enumerate(decisions, start=1):
        text = page.read_text(encoding="utf-8")
        assert page.name.startswith(f"{number:04d}-")
        assert text.startswith(f"# {number}. ")
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Context", "Decision", "Consequence"]
        assert len(text.splitlines()) <= 25
