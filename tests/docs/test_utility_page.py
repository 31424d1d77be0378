"""The figures of ``docs/utility.md`` are those that the benchmark measured, and it measures them again."""

import json
from typing import Any

import pytest

from benchmarks.utility import AUROC_BAR, CHOICES, FLAMBY, FLAMBY_DELTA, MODES, PLANS, measured, rows_of
from benchmarks.utility_plot import picture
from benchmarks.utility_training import Promise
from tests.docs.pages import ROOT, rows

PAGE = ROOT / "docs" / "utility.md"
RESULTS: list[dict[str, Any]] = json.loads((ROOT / "docs" / "utility.json").read_text(encoding="utf-8"))
ROUNDED = 0.00016  # three figures of four decimals
WITHIN = 0.002  # another processor rounds otherwise, and a step may then clip otherwise


def figure(key: str, dataset: str, sites: int, mode: str, epsilon: float | None, delta: float | None) -> float:
    wanted = {"dataset": dataset, "sites": sites, "mode": mode, "epsilon": epsilon, "delta": delta}
    (found,) = [row for row in RESULTS if all(row[name] == value for name, value in wanted.items())]
    value: float = found[key]
    return value


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{plan.dataset}-{plan.sites}")
def test_table_of_a_federation_is_what_was_measured(plan: Any) -> None:
    table = rows(PAGE, f"{plan.dataset.capitalize()}, {plan.sites} sites")
    assert len(table) == len(plan.promises)
    for cells in table:
        epsilon, delta = float(cells[0]), float(cells[1])
        for mode, cell in zip(MODES, cells[2:], strict=True):
            promised = (None, None) if mode == "none" else (epsilon, delta)
            assert cell == f"{figure('auroc_mean', plan.dataset, plan.sites, mode, *promised):.3f}"


def test_table_of_accuracies_is_what_was_measured() -> None:
    without, *table = rows(PAGE, "Beside FLamby's published figures")
    assert without[2] == f"{figure('accuracy_mean', 'heart', 4, 'none', None, None):.3f}"
    for cells in table:
        epsilon = float(cells[0])
        assert cells[1] == (f"{FLAMBY[epsilon]:.3f}" if epsilon in FLAMBY else "")
        for mode, cell in zip(MODES[1:], cells[2:], strict=True):
            assert cell == f"{figure('accuracy_mean', 'heart', 4, mode, epsilon, FLAMBY_DELTA):.3f}"


def test_bars_that_the_page_says_hold_were_measured_to_hold() -> None:
    lost = []
    for federation, epsilon, delta, difference, _ in rows(PAGE, "Paired differences"):
        dataset, sites = federation.split(", ")
        promised = (float(epsilon), float(delta))
        central, distributed = (
            figure("auroc_mean", dataset, int(sites), mode, *promised) for mode in ("central", "distributed")
        )
        paired = float(difference.split()[0])
        assert paired == pytest.approx(central - distributed, abs=ROUNDED)
        if promised[0] >= 1:
            lost.append(paired)
    assert max(lost) <= AUROC_BAR
    words = f"the largest mean paired loss is {max(lost):.4f} AUROC"
    assert words in " ".join(PAGE.read_text(encoding="utf-8").split())
    for published_at, published in FLAMBY.items():
        assert figure("accuracy_mean", "heart", 4, "distributed", published_at, FLAMBY_DELTA) > published


def test_measuring_again_gives_the_same_figures() -> None:
    plan = next(plan for plan in PLANS if (plan.dataset, plan.sites) == ("wisconsin", 4))
    alone = type(plan)(plan.dataset, plan.sites, (Promise(1.0, 1e-3),), plan.seeds)
    for row in rows_of(measured(alone)):
        wanted = figure("auroc_mean", "wisconsin", 4, row["mode"], row["epsilon"], row["delta"])
        assert row["auroc_mean"] == pytest.approx(wanted, abs=WITHIN)


def test_picture_is_drawn_from_what_was_measured() -> None:
    assert (ROOT / "docs" / "utility.svg").read_text(encoding="utf-8") == picture(RESULTS)


def test_choices_are_made_on_other_seeds() -> None:
    assert CHOICES.is_file()
    for plan in PLANS:
        assert not set(plan.seeds) & set(plan.tuning_seeds)
