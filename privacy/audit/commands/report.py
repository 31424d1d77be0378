"""``consilium-audit report``: a verified ledger as one page that a person can read and print."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from privacy.command_line import say
from privacy.errors import LedgerError
from privacy.files import replace_file

if TYPE_CHECKING:
    from privacy.accounting.events import AnyEvent
    from privacy.audit.report.findings import Reading
    from privacy.audit.report.study_section import SecondFigure
    from privacy.keys import PublicKey


@click.command()
@click.argument("ledger", metavar="LEDGER", type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="HTML", required=True, type=click.Path(path_type=Path), help="The page.")
@click.option("--key", metavar="PUBLICKEY", help="The site's public key, as the site gave it to you.")
@click.option("--pld", is_flag=True, help="Add the epsilon by privacy loss distributions (slower).")
@click.option("--force", is_flag=True, help="Replace the page if there is one.")
def report(ledger: Path, output: Path, key: str | None, pld: bool, force: bool) -> None:
    """Check LEDGER and write what it says as one HTML page, to read and to print.

    The page needs no network and no script. It shows what every study was about and did, under which terms (an
    export has them, a copy of ledger.sqlite has not), epsilon over time against the grants, models released,
    incidents, and grants enlarged after results were seen.
    """
    from privacy.audit.read_ledger import parse_key
    from privacy.audit.report.page import render_page

    if output.exists():
        _refuse_to_destroy(output, ledger, force)
    second = _make_pld_figure() if pld else None
    page = render_page(read_timeline(ledger, None if key is None else parse_key(key)), second)
    replace_file(output, page, LedgerError)
    say(f"{output}: {len(page) / 1024:,.0f} KiB")


def read_timeline(ledger: Path, key: PublicKey | None) -> Reading:
    """Read and verify the ledger in ``ledger``, and collect its history.

    Raises:
        LedgerError: it cannot be read, or an entry is wrong (named).
    """
    from privacy.audit.read_ledger import read_ledger
    from privacy.audit.report.findings import Reading
    from privacy.audit.report.timeline import Timeline
    from privacy.ledger.papers import Paper

    timeline, papers = Timeline(), dict[str, Paper]()
    form, state = read_ledger(ledger, key, timeline.apply, papers)
    return Reading(state, timeline, form, key is not None, papers)


def _refuse_to_destroy(output: Path, ledger: Path, force: bool) -> None:
    if ledger.exists() and output.samefile(ledger):
        raise click.UsageError(f"{output} is the ledger itself: name another file for the page")
    if not force:
        raise click.UsageError(f"{output} is there already: name another file, or replace it with --force")


def _make_pld_figure() -> SecondFigure:
    from privacy.accounting.pld import compute_pld_epsilon

    if find_spec("dp_accounting") is None:
        raise click.UsageError("--pld needs dp-accounting, which is not installed: pip install dp-accounting")

    @cache  # studies of the same terms have the same plan
    def price(events: tuple[AnyEvent, ...], delta: float) -> float:
        return compute_pld_epsilon(events, delta)

    return lambda events, delta: price(tuple(events), delta)
