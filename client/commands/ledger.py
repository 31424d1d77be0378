"""``consilium-site ledger``: the ledger in words, its export, testimony of others' ledgers, recovery after a loss."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from client.commands.confirm import ask_at_terminal, read_machine_account
from privacy.canonical import Json
from privacy.command_line import Commands, print_json, print_table, say
from privacy.errors import LedgerError, SiteConfigError
from privacy.exchanged_files import read_exchanged_document
from privacy.files import create_private_file

if TYPE_CHECKING:
    from client.ledger.recovery import Rehearsal
    from client.site.folder import SiteFolder
    from privacy.accounting.figures import Budget
    from privacy.ledger.entries import Entry
    from privacy.ledger.signed_head import Countersigned

KINDS: Final = (
    "open", "population", "grant", "approve", "revoke", "require", "decide", "allow", "reserve", "settle",
    "evaluate", "return", "release", "cohort", "audit", "refuse", "incident", "checkpoint", "key", "clock",
    "recover",
)  # fmt: skip
"""The kinds of :mod:`privacy.ledger.entries`, which the help of 'list' need not import."""


@click.group(cls=Commands)
def ledger() -> None:
    """Read or export the ledger of all privacy that was granted and spent."""


@ledger.command("list")
@click.option("--study", help="Only what is about this study.")
@click.option("--kind", type=click.Choice(KINDS), help="Only entries of this kind.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Only what was written from this day on (UTC).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def ledger_list(
    home: SiteFolder, study: str | None, kind: str | None, since: datetime | None, as_json: bool
) -> None:
    """List the entries in words, oldest first; 'ledger summary' shows one line for each study, in epsilon."""
    from client.ledger.entry_text import describe_entry

    with home.open_ledger() as site_ledger:
        entries = list(site_ledger.read_entries())
    day = _format_day(since)
    chosen = [
        entry for entry in _find_entries_about(entries, study) if kind in (None, entry.kind) and entry.time >= day
    ]
    if as_json:
        print_json(
            {
                "entries": [
                    {**entry.model_dump(mode="json"), "words": describe_entry(entry.body)} for entry in chosen
                ]
            }
        )
        return
    rows = [(str(entry.number), entry.time, entry.kind, describe_entry(entry.body)) for entry in chosen]
    print_table(("entry", "time", "kind", "what"), rows)


@ledger.command("summary")
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%d"]), help="Only what is open, or happened from this day on (UTC)."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def ledger_summary(home: SiteFolder, since: datetime | None, as_json: bool) -> None:
    """Show what was granted, and what each study took, in epsilon."""
    from client.ledger.summary import summarise
    from privacy.audit.report.timeline import Timeline
    from privacy.ledger import verify_file

    timeline = Timeline()
    found = summarise(
        verify_file(home.ledger_path, home.load_identity().public, timeline.apply), timeline, _format_day(since)
    )
    if as_json:
        studies: list[Json] = [each._asdict() for each in found.studies]
        print_json({**found._asdict(), "studies": studies})
        return
    for sentence in found.grants:
        say(sentence)
    rows = [
        (
            each.study,
            each.population,
            each.admitted,
            each.approved_by or "the policy",
            f"{each.rounds_paid} of {each.rounds_planned}",
            "no bound" if each.epsilon is None else f"{each.epsilon:.3f}",
            each.state,
        )
        for each in found.studies
    ]
    print_table(("study", "population", "admitted", "approved by", "rounds", "epsilon", "state"), rows)
    say(f"refused: {found.refused}; incidents: {found.incidents}; 'consilium-site ledger list' has every entry")


@ledger.command("clock")
@click.option("--by", "name", required=True, help="Who says so; it stands in the ledger.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def ledger_clock(home: SiteFolder, name: str, yes: bool) -> None:
    """Say that this machine's clock had been wrong and is right now, so that the ledger can be written again.

    For a machine that once started with a clock far ahead. It stands in the ledger for every reader; the order of
    entries is their numbers, not their times.
    """
    from privacy.ledger.ledger import read_utc_time

    with home.open_ledger() as site_ledger:
        last = list(site_ledger.read_entries())[-1]
        now = f"{read_utc_time():%Y-%m-%dT%H:%M:%SZ}"
        say(f"the last entry ({last.number}) is dated {last.time}; this machine's clock says {now}")
        ask_at_terminal("Is the clock right now, and was it wrong then?", yes)
        site_ledger.accept_clock(name, read_machine_account())
        head = site_ledger.head
    say(f"entry {head.number} says so; the ledger can be written again, also by a site that is running")


@ledger.command("export")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.pass_obj
def ledger_export(home: SiteFolder, file: Path) -> None:
    """Write the ledger to FILE, for an auditor: signed JSON lines, ending in a signed trailer. Only you can read FILE.

    With it go the papers of its studies: purpose, columns, terms, who took part, and the figures that were opened.
    """
    from client.study.papers import list_papers

    last = b""
    with home.open_ledger() as site_ledger:
        try:
            with create_private_file(file) as out:
                try:
                    for last in site_ledger.export_lines(list_papers(home, site_ledger)):
                        out.write(last)
                    out.flush()
                    os.fsync(out.fileno())
                except BaseException:  # an export is whole or absent
                    file.unlink()
                    raise
        except OSError as error:
            raise SiteConfigError(f"{file}: cannot be written: {error.strerror}; name another file") from None
    trailer = json.loads(last)["trailer"]
    say(f"wrote {trailer['count']} entries to {file}; give it to the auditor, and this head over another channel:")
    click.echo(trailer["head"])


@ledger.command("testimony")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Write to this new file.")
@click.pass_obj
def ledger_testimony(home: SiteFolder, out: Path) -> None:
    """Write what this site has seen of other sites' ledgers, signed, for an auditor ('consilium-audit reconcile')."""
    from client.study.peer_testimony import write_site_testimony

    count = write_site_testimony(home, out)
    say(f"wrote {out}, {count} headers of other sites; check it with: consilium-audit reconcile {out} LEDGER...")


@ledger.command("recover")
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@click.pass_obj
def ledger_recover(home: SiteFolder, file: Path | None, yes: bool) -> None:
    """Continue from an older copy of the ledger, with the newest head that the coordinator has countersigned.

    FILE is what the coordinator hands out; without it, the head that this site has kept beside its ledger.
    What the coordinator has seen of the lost ledger is taken over, and everything open is charged in full.
    """
    from client.site.running import keep_stopped

    with keep_stopped(home, "its ledger is taken up again"):
        _recover_ledger(home, file, yes)


def _recover_ledger(home: SiteFolder, file: Path | None, yes: bool) -> None:
    from client.ledger.recovery import rehearse_recovery
    from privacy.keys import PublicKey

    countersigned = _read_countersigned(home, file)
    coordinator = PublicKey.from_text(home.load_admission().coordinator)
    with home.open_ledger() as site_ledger:
        rehearsal = rehearse_recovery(site_ledger.copy_state(), countersigned, coordinator, home.load_identity())
        _print_rehearsal(rehearsal)
        if not yes and not click.confirm("charge this and continue from here?", err=True):
            say("nothing was changed")
            raise click.Abort
        site_ledger.recover(countersigned, coordinator)
        head = site_ledger.head
    say(f"recovered by entry {head.number}; every reader of the ledger will see it. Back the folder up now")


def _format_day(since: datetime | None) -> str:
    return "" if since is None else f"{since:%Y-%m-%d}"


def _find_entries_about(entries: list[Entry], study: str | None) -> list[Entry]:
    from client.ledger.entry_text import is_about, list_named_studies

    if study is None:
        return entries
    named = list_named_studies(entries)
    if study not in named:
        raise click.BadParameter(
            f"the ledger names no study '{study}'; it names: {', '.join(named) or 'none'}", param_hint="--study"
        )
    return [entry for entry in entries if is_about(entry.body, study, named[study])]


def _read_countersigned(home: SiteFolder, file: Path | None) -> Countersigned:
    from privacy.document import parse
    from privacy.ledger.signed_head import Countersigned

    if file is None:
        kept = home.load_witnessed()
        if kept is None:
            raise SiteConfigError(
                f"{home.folder}: this site has kept no head that its coordinator has countersigned; ask the "
                "coordinator's operator for the newest one (consilium testimony head) and name its file"
            )
        return kept
    return parse(read_exchanged_document(file, LedgerError), Countersigned, LedgerError, str(file))


def _print_rehearsal(rehearsal: Rehearsal) -> None:
    say(
        f"this ledger ends with entry {rehearsal.own.number}; the coordinator has seen entry {rehearsal.seen.number} "
        "of the lost one. Entries between are lost, their price is not:"
    )
    rows = [
        (population, *_format_figures(rehearsal.before.get(population)), *_format_figures(after))
        for population, after in rehearsal.after.items()
    ]
    print_table(
        ("population", "spent", "set aside", "left", "spent then", "set aside then", "left then"),
        rows,
        {place for place, after in enumerate(rehearsal.after.values()) if not after.protected},
    )
    for study in rehearsal.closed:
        say(f"the study '{study}' is closed at this site: what it had set aside counts as spent")


def _format_figures(budget: Budget | None) -> tuple[str, str, str]:
    if budget is None:
        return "-", "-", "-"
    spent = "unbounded" if budget.epsilon_spent is None else f"{budget.epsilon_spent:.3f}"
    return spent, f"{budget.epsilon_set_aside:.3f}", f"{budget.epsilon_left:.3f}"
