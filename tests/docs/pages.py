"""The documents as their tests see them: pages, links, blocks of code, and what a person types."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
PAGES: Final = tuple(sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]))

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_QUOTED: Final = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Typed:
    """One line of a console block, as words; ``page`` is where it stands."""

    page: Path
    words: tuple[str, ...]


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def blocks(page: Path, language: str) -> list[str]:
    """The page's blocks of code in ``language``."""
    return [body for found, body in _FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def links(page: Path) -> list[str]:
    """Where the page's links lead."""
    return _LINK.findall(prose(page))


def quoted(page: Path) -> list[str]:
    """What stands between single backticks."""
    return _QUOTED.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """The names by which the page's headings can be linked to, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table under the heading ``heading``, its own headings left out."""
    section = re.split(rf"^#+ {re.escape(heading)}.*$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table is not None
    lines = table.group().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def typed(page: Path) -> list[Typed]:
    """What a person types in the page's console blocks."""
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    return [Typed(page, tuple(shlex.split(line[2:]))) for line in lines if line.startswith("$ ")]


def lines_below(page: Path, heading: str) -> list[str]:
    """The lines, as a shell takes them, of the first console block below the heading ``heading``."""
    section = page.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (block,) = [body for found, body in _FENCE.findall(section) if found == "console"]
    return [line[2:] for line in block.splitlines() if line.startswith("$ ")]
