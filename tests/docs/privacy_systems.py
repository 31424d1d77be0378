"""The measured tables of ``docs/privacy-systems/README.md``: ``python -m tests.docs.privacy_systems`` writes them."""

import json
from pathlib import Path
from typing import Any, Final

from tests.docs.pages import ROOT

PAGE: Final[Path] = ROOT / "docs" / "privacy-systems" / "README.md"
ENCRYPTION: Final[Path] = PAGE.with_name("encryption.json")
ACCURACY: Final[Path] = PAGE.with_name("accuracy.json")
ORDER: Final[Path] = PAGE.with_name("order.json")
STUDIES: Final = ("radiographs", "heart")
_COST: Final = "## What an encryption costs\n"
_LEFT: Final = "## What it does to accuracy\n"
_ORDER: Final = "## Lots drawn in secret, and lots in turn\n"
_COST_COLUMNS: Final = (
    *("system", "rests on", "bytes up", "down", "seal, us", "add, us", "open, us"),
    *("who reads single updates", "in the terms"),
)
_LEFT_COLUMNS: Final = ("way", *STUDIES, "epsilon in all", "who is protected")
_ORDER_COLUMNS: Final = (
    "epsilon",
    "lots",
    "noise multiplier",
    "noise left in the sum of all steps",
    "AUROC",
    "CPU s",
)
_CARDS: Final = {
    "phong": "phong.md",
    "lwe": "phong.md",
    "paillier": "phong.md",
    "batchcrypt": "batchcrypt.md",
    "li": "multi-key.md",
    "threshold bfv": "threshold.md",
    "bfv": "../secure-aggregation.md",
    "dp-sgd": "../privacy.md",
    "projection": "private-projection.md",
    "individual": "individual-filters.md",
    "correlated": "correlated-noise.md",
    "noised": "noised-parameters.md",
    "selective": "selective-sharing.md",
    "certified": "pixeldp.md",
}


def page() -> str:
    """The page with its tables as they must be."""
    text = PAGE.read_text(encoding="utf-8")
    tables = ((_COST, _make_cost_table()), (_LEFT, _make_accuracy_table()), (_ORDER, _make_order_table()))
    for heading, table in tables:
        before, found, rest = text.partition(heading)
        assert found, f"{PAGE} has no heading '{heading.strip()}'"
        about, _, after = rest.partition("\n| ")
        _, _, after = after.partition("\n\n")
        text = f"{before}{heading}{about}\n{table}\n\n{after}"
    return text


def _make_cost_table() -> str:
    rows = []
    for each in _read(ENCRYPTION, "encryption"):
        times = " | ".join(_format_time(each[key]) for key in ("seal_us", "add_us", "open_us"))
        bytes_each = f"{each['bytes_up']:.2f} | {each['bytes_down']:.2f}"
        chosen = "yes" if each["selectable"] else "no"
        first = each["system"].partition(",")[0].partition(":")[0]
        rows.append(
            f"| {_link(each['system'], first)} | {each['rests_on']} | {bytes_each} | {times} | "
            f"{each['reads_single_updates']} | {chosen} |"
        )
    return _make_table(_COST_COLUMNS, rows)


def _make_accuracy_table() -> str:
    rows = []
    for each in _read(ACCURACY, "accuracy"):
        figures = " | ".join(f"{each[study]:.3f} ± {each[f'{study}_deviation']:.3f}" for study in STUDIES)
        epsilon = "-" if each["epsilon"] is None else f"{each['epsilon']:.3g}"
        rows.append(f"| {_link(each['way'], each['system'])} | {figures} | {epsilon} | {each['protects']} |")
    return _make_table(_LEFT_COLUMNS, rows)


def _make_order_table() -> str:
    rows = [
        f"| {each['epsilon']:g} | {each['way']} | {each['noise_multiplier']:.2f} | {each['noise_left']:.1f} | "
        f"{each['auroc']:.3f} ± {each['deviation']:.3f} | {each['seconds']:.2f} |"
        for each in _read(ORDER, "order")
    ]
    return _make_table(_ORDER_COLUMNS, rows)


def _read(path: Path, part: str) -> list[dict[str, Any]]:
    measured: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))[part]
    return measured


def _make_table(columns: tuple[str, ...], rows: list[str]) -> str:
    return "\n".join([f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|", *rows])


def _format_time(microseconds: float) -> str:
    return f"{microseconds:,.0f}" if microseconds >= 1000 else f"{microseconds:.3g}"


def _link(name: str, system: str) -> str:
    return f"[{name}]({_CARDS[system]})" if system in _CARDS else name


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
