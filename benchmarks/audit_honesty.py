"""Count how often an empirical audit exceeds a true epsilon, and how near it comes to it.

``python -m benchmarks.audit_honesty [--runs N] [--canaries M]``.

Releases are ideal: one Gaussian mechanism that costs exactly the epsilon, and a direction of its own for every canary.
No attacker on a real study sees more. So the counts are those of honest programs, and the medians are what an audit can
reach at best. A small form is in ``tests/privacy/audit/empirical/test_guesses.py``.
"""

from typing import Final

import click
import numpy as np

from privacy.audit.empirical.guesses import Bounds, compute_bounds
from privacy.audit.empirical.trade_off import find_gaussian_mu
from privacy.canonical import Json
from privacy.command_line import print_json, print_table

EPSILONS: Final = (1.0, 3.0, 8.0)
_DELTA: Final = 1e-5


def audit_ideal_release(epsilon: float, canaries: int, seed: int) -> Bounds:
    """Return the bounds of one ideal release that costs ``epsilon``."""
    random = np.random.default_rng(seed)
    coins = random.random(canaries) < 0.5
    scores = coins + random.standard_normal(canaries) / find_gaussian_mu(epsilon, _DELTA)
    return compute_bounds([scores], coins, _DELTA, independent=True)


@click.command()
@click.option("--runs", default=200, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--canaries", default=1000, show_default=True, type=click.IntRange(2, 10_000))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(runs: int, canaries: int, as_json: bool) -> None:
    """Honest releases: how many of them an audit would refute, and the medians of its bounds."""
    rows: list[dict[str, Json]] = []
    for epsilon in EPSILONS:
        found = [audit_ideal_release(epsilon, canaries, seed) for seed in range(runs)]
        names = ("one_run", "trade_off", "gaussian", "independent")
        values = np.array([[getattr(each, name) for name in names] for each in found], dtype=float)  # (runs, 4)
        for name, median, beyond in zip(
            names, np.median(values, axis=0), (values > epsilon).sum(axis=0), strict=True
        ):
            rows.append(
                {"epsilon": epsilon, "bound": name, "median": round(float(median), 2), "beyond": int(beyond)}
            )
    if as_json:
        print_json({"runs": runs, "canaries": canaries, "rows": rows})
        return
    print_table(
        ("epsilon", "bound", "median", f"beyond it, of {runs}"), [[str(v) for v in r.values()] for r in rows]
    )


if __name__ == "__main__":
    main()
