"""Compare systems that a federation could protect its patients with: what each costs, and what each lets through.

``python -m benchmarks.privacy_systems [--json] [--quick] [--part NAME ...]``. Figures are CPU seconds of one core.

* ``encryption``: bytes and time a parameter of every way to add updates without reading them
  (:mod:`benchmarks.privacy_systems_encryption`).
* ``accuracy``: what each way leaves of a model's accuracy, on two studies of real patients
  (:mod:`benchmarks.privacy_systems_accuracy`); about four minutes.
* ``order``: lots in a fixed order with correlated noise, against lots drawn in secret, as a site simulates a study
  (:mod:`benchmarks.privacy_systems_order`); about two minutes.
* ``selective``: what an attacker reads of a patient when only a part of an update is encrypted
  (:mod:`benchmarks.selective_encryption`).
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from benchmarks.privacy_systems_accuracy import measure_accuracy
from benchmarks.privacy_systems_encryption import measure_encryptions
from benchmarks.privacy_systems_order import measure_order
from benchmarks.selective_encryption import ATTACKS, measure_attack
from privacy.command_line import print_json, print_table, say

Rows = list[dict[str, Any]]


def measure_selective(quick: bool) -> Rows:
    """Attack selective encryption with algebra, and by matching gradients unless ``quick``."""
    rows: Rows = []
    for name, attack in ATTACKS.items():
        if not quick or name == "algebra":
            found = measure_attack(attack, patients=20 if name == "algebra" else 10)
            rows += [{"attack": name, **row} for row in found]
    return rows


PARTS: Final[dict[str, Callable[[bool], Rows]]] = {
    "encryption": measure_encryptions,
    "accuracy": measure_accuracy,
    "order": measure_order,
    "selective": measure_selective,
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--quick", is_flag=True, help="Leave out what takes more than a few seconds.")
@click.option("--part", "parts", multiple=True, type=click.Choice(list(PARTS)), help="Only this; may be repeated.")
def main(as_json: bool, quick: bool, parts: Sequence[str]) -> None:
    """Bytes, time and leaks of privacy systems."""
    found: dict[str, Rows] = {}
    for part in parts or PARTS:
        say(f"{part} ...")
        try:
            found[part] = PARTS[part](quick)
        except FileNotFoundError as error:
            say(f"{part} is left out: {error}")
    if as_json:
        print_json(found)
        return
    for rows in found.values():
        print_table(list(rows[0]), [[_word(value) for value in row.values()] for row in rows])
        click.echo()


def _word(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
