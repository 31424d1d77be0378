"""The result of the demonstration as tables on stdout."""

from typing import Final

from rich.console import Console
from rich.table import Table

from server.demo.result import DemoResult
from server.results.tally import WITHOUT_PRIVACY, Tally
from server.study.check_result import StudyCheck

REPEATS: Final = 5
"""Simulated trainings for each figure that the federation is compared with; their mean is shown."""


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
        title=f"on all hospitals' held-out patients{bare}",
        title_justify="left",
        caption=f"simulated: from the source tables, outside the hospitals' ledgers; means of {REPEATS} trainings",
        caption_justify="left",
    )
    for heading in ("model", "AUROC", "accuracy", "sensitivity", "specificity"):
        table.add_column(heading)
    federated = result.federated
    table.add_row("federated", *(_format_figure(value) for _, value in federated), style="bold")
    same = "same budget" if result.private else "no privacy"
    for alone in result.alone:
        table.add_row(f"{alone.site} alone, {same}", _format_figure(alone.auroc), "", "", "simulated")
    table.add_row("pooled, no privacy", _format_figure(result.pooled.auroc), "", "", "simulated")
    return table


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
