"""The measured table of ``docs/privacy-systems/README.md``: ``python -m tests.docs.privacy_systems`` writes it."""

import json
from pathlib import Path
from typing import Any, Final

from tests.docs.pages import ROOT

PAGE: Final[Path] = ROOT / "docs" / "privacy-systems" / "README.md"
MEASURED: Final[Path] = PAGE.with_name("encryption.json")
HEADING: Final = "## What an encryption costs\n"
_COLUMNS: Final = (
    *("system", "rests on", "bytes up", "down", "seal, us", "add, us", "open, us"),
    *("who reads single updates", "in the terms"),
)
_CARDS: Final = {
    "phong": "phong.md",
    "lwe": "phong.md",
    "paillier": "phong.md",
    "batchcrypt": "batchcrypt.md",
    "li": "multi-key.md",
    "threshold bfv": "threshold.md",
    "bfv": "../secure-aggregation.md",
}


def page() -> str:
    """The page with its table as it must be."""
    text = PAGE.read_text(encoding="utf-8")
    before, heading, rest = text.partition(HEADING)
    assert heading, f"{PAGE} has no heading '{HEADING.strip()}'"
    about, _, after = rest.partition("\n| ")
    _, _, after = after.partition("\n\n")
    return f"{before}{heading}{about}\n{_table()}\n\n{after}"


def _table() -> str:
    measured: list[dict[str, Any]] = json.loads(MEASURED.read_text(encoding="utf-8"))["encryption"]
    rows = [
        f"| {' | '.join(_COLUMNS)} |",
        "| --- " * len(_COLUMNS) + "|",
    ]
    for each in measured:
        times = " | ".join(_format_time(each[key]) for key in ("seal_us", "add_us", "open_us"))
        bytes_each = f"{each['bytes_up']:.2f} | {each['bytes_down']:.2f}"
        chosen = "yes" if each["selectable"] else "no"
        rows.append(
            f"| {_link(each['system'])} | {each['rests_on']} | {bytes_each} | {times} | "
            f"{each['reads_single_updates']} | {chosen} |"
        )
    return "\n".join(rows)


def _format_time(microseconds: float) -> str:
    return f"{microseconds:,.0f}" if microseconds >= 1000 else f"{microseconds:.3g}"


def _link(system: str) -> str:
    first = system.partition(",")[0].partition(":")[0]
    return f"[{system}]({_CARDS[first]})" if first in _CARDS else system


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
