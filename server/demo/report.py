"""Print the result of the demonstration as tables on stdout.

* What was simulated is marked, and says its spread; the federation's figures are those of one study.
* Whoever is not protected is named: training without privacy in the titles, test patients below the figures.
"""

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from server.demo.result import DemoResult
from server.results.tally import WITHOUT_PRIVACY, Tally
from server.study.check_result import StudyCheck

REPEATS: Final = 8
"""Simulated trainings for each figure that the federation is compared with."""


GENERATED: Final = ", which are generated: nobody's"


def print_report(result: DemoResult, tally: Tally, explained: StudyCheck) -> None:
    """Print the model's figures, the budget that each hospital spent, and the bytes and seconds of a round."""
    console = Console(highlight=False)
    bare = "" if result.private else f" [bold red]{WITHOUT_PRIVACY}[/]"
    console.print(_build_quality_table(result, bare))
    console.print(_build_budget_table(result, bare))
    console.print(_build_movement_table(result, tally, explained, bare))
    if result.dir:
        console.print(f"everything is in {result.dir}: each hospital's model, card and ledger")


def _build_quality_table(result: DemoResult, bare: str) -> Table:
    table = Table(
        title=f"on all hospitals' held-out patients{GENERATED if result.generated else ''}{bare}",
        title_justify="left",
        caption=_explain_comparison(result),
        caption_justify="left",
    )
    for heading in ("model", "figure", "", ""):
        table.add_column(heading)
    first, *others = result.figures
    table.add_row("federated", first.title, _format_figure(result.federated[first.name]), "one study", style="bold")
    for each in others:
        table.add_row("", each.title, _format_figure(result.federated[each.name]), "")
    pooled = "pooled, no privacy", result.pooled.value, result.pooled.spread
    for name, value, spread in (
        *((f"{each.site} alone", each.value, each.spread) for each in result.alone),
        pooled,
    ):
        table.add_row(name, first.title, _format_mean(value, spread), "simulated")
    table.add_row("gain over one alone", first.title, _format_gains(result.compute_gains()), "", style="bold")
    return table


def _explain_comparison(result: DemoResult) -> str:
    """Explain what was simulated, what the signs mean, and whom nothing protects."""
    first = result.figures[0]
    same = "with the same budget" if result.private else "without privacy too"
    lines = [
        f"alone: on one hospital's patients, {same}",
        "simulated: from the source tables, outside the hospitals' ledgers; "
        f"mean ± standard deviation of {REPEATS} trainings",
        "gain: the least and the greatest over the hospitals; positive where the federation is better "
        f"({'lower' if first.lower_is_better else 'higher'} {first.title})",
    ]
    if result.chance is not None:
        lines.append(
            f"other test patients, as many, would move the federated {first.title} by about {result.chance:.3f}"
        )
    if not result.test_patients_protected:
        lines.append("test patients are NOT protected here (evaluation.epsilon: none)")
    return "\n".join(lines)


def _build_budget_table(result: DemoResult, bare: str) -> Table:
    table = Table(
        title=f"what it cost each hospital's patients{bare}",
        title_justify="left",
        caption="spent: by this study alone; left: of the hospital's grant, which its ledger keeps at one Renyi order",
        caption_justify="left",
    )
    for heading in ("hospital", "patients (about)", "epsilon spent", "delta", "epsilon left"):
        table.add_column(heading)
    for site in result.sites:
        spent = "[bold red]no bound[/]" if site.epsilon is None else f"{site.epsilon:.3f}"
        left = "[bold red]none[/]" if site.epsilon_left is None else f"{site.epsilon_left:.3f}"
        delta = "-" if site.delta is None else f"{site.delta:g}"
        table.add_row(site.name, str(site.patients), spent, delta, left)
    return table


def _build_movement_table(result: DemoResult, tally: Tally, explained: StudyCheck, bare: str) -> Table:
    table = Table(title=f"a round{bare}", title_justify="left", show_header=False)
    rounds = [each for each in tally.rounds.values() if each.committed]
    count = max(1, len(rounds))
    table.add_row("parameters", f"{result.parameters:,} ({explained.float32_bytes:,} bytes as float32)")
    table.add_row("bytes up, a site", f"{result.bytes_up:,}")
    table.add_row("bytes down, a site", f"{result.bytes_down:,}")
    table.add_row(
        "",
        f"an update fills whole ciphertexts: {explained.ciphertexts} of them here, "
        f"{explained.bytes_up:,} bytes up and {explained.bytes_down:,} down, however small the model",
    )
    table.add_row("seconds", f"{result.seconds_per_round:.2f} on average")
    table.add_row("  train, seal, send", f"{sum(each.working for each in rounds) / count:.2f}")
    table.add_row("  compare, release, add", f"{sum(each.releasing for each in rounds) / count:.2f}")
    table.add_row("seconds, whole study", f"{result.seconds:.1f}")
    return table


def _format_figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _format_mean(value: float | None, spread: float | None) -> str:
    return _format_figure(value) + ("" if spread is None else f" ± {spread:.3f}")


def _format_gains(gains: Sequence[float]) -> str:
    return f"{min(gains):+.3f} to {max(gains):+.3f}" if gains else "-"
