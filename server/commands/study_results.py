"""``consilium study list``, ``show``, ``compare`` and ``watch``: progress and results of studies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from privacy.command_line import print_json, print_table, print_text, say
from privacy.errors import FederationError, StoppedError

if TYPE_CHECKING:
    from server.federation.folder import Federation
    from server.federation.profile import Profile
    from server.results.documents import StudyResults


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_studies(place: Federation | Profile, as_json: bool) -> None:
    """Every study of this federation, with the figure of its newest evaluation."""
    from server.results.documents import StudySummary
    from server.results.text import LIST_HEADINGS, format_list_row

    studies = _read_summaries(place)
    if as_json:
        print_json({"studies": studies})
        return
    print_table(LIST_HEADINGS, [format_list_row(StudySummary.model_validate(each)) for each in studies])


@click.command()
@click.argument("name", metavar="STUDY")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def show(place: Federation | Profile, name: str, as_json: bool) -> None:
    """Show what STUDY is, how its model does on the sites' test patients, and what it costs.

    Figures come from opened totals only; whatever noise they carry is named beside them. Works while the
    coordinator is stopped, too.
    """
    from server.commands.connect import read_study_results
    from server.results.text import SITE_HEADINGS, list_facts, list_site_rows, list_statistics_rows

    found = read_study_results(place, name)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    rows = list_facts(found)
    bare = not (found.privacy.private and found.privacy.sealed)
    alarming = {place for place, (name, _) in enumerate(rows) if name == "NOTE" or (bare and name == "privacy")}
    print_table(("", ""), rows, alarming)
    if found.statistics is not None:
        print_text("\non all sites' patients together")
        print_table(("", ""), list_statistics_rows(found.statistics))
    else:
        _print_evaluations(found)
    print_text("")
    print_table(SITE_HEADINGS, list_site_rows(found))


def _print_evaluations(found: StudyResults) -> None:
    from server.results.text import explain_evaluations, format_evaluation_row, list_evaluation_headings

    print_text("\non all sites' test patients")
    if found.evaluations:
        evaluations = [format_evaluation_row(each, found.figures) for each in found.evaluations]
        print_table(list_evaluation_headings(found.figures), evaluations)
        print_text(explain_evaluations(found.evaluations, found.figures[:1]))
    else:
        print_text("no totals are open yet" if found.rounds.evaluations_planned else "the terms evaluate nothing")


@click.command()
@click.argument("names", metavar="STUDY...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def compare(place: Federation | Profile, names: tuple[str, ...], as_json: bool) -> None:
    """Studies side by side: results of the newest evaluation, promises and costs.

    The best of several studies costs what all of them cost; each site's ledger charges every one.
    """
    from server.commands.connect import read_study_results
    from server.results.text import compare_studies, explain_evaluations

    several = [read_study_results(place, name) for name in names]
    if as_json:
        print_json({"studies": [each.model_dump(mode="json") for each in several]})
        return
    print_table(("",) * (len(several) + 1), compare_studies(several))
    if evaluated := [each for each in several if each.evaluations]:
        newest = [each.evaluations[-1] for each in evaluated]
        print_text(explain_evaluations(newest, [each.figures[0] for each in evaluated]))


@click.command()
@click.argument("name", metavar="STUDY")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a line.")
@click.pass_obj
def watch(place: Federation | Profile, name: str, as_json: bool) -> None:
    """Follow STUDY until it is finished or stopped: rounds, figures as they open, and the time left."""
    follow(place, name, as_json=as_json)
    if not as_json:
        say(f"results: consilium study show {name}")


def follow(place: Federation | Profile, name: str, *, as_json: bool = False, quiet: bool = False) -> None:
    """Show the progress of a study until it is finished.

    Raises:
        StoppedError: it has stopped.
        FederationError: there is no such study, or the coordinator does not answer.
    """
    from server.commands.connect import connect_to_coordinator
    from server.study.events import StudyStatus
    from server.study.notes import Heartbeat, WatchEnded, read_watched_note
    from server.watch.progress import Progress

    with Progress(quiet=as_json or quiet) as progress:
        for fields in connect_to_coordinator(place).stream("WatchStudy", study=name, after=0):
            note = read_watched_note(fields["document"])
            if as_json and not isinstance(note, Heartbeat):
                print_json(fields["document"])
            progress.add_note(note)
            if isinstance(note, WatchEnded) and note.standing is StudyStatus.STOPPED:
                raise StoppedError(f"the study '{name}' is stopped: {note.why}")


def _read_summaries(place: Federation | Profile) -> list[dict[str, Any]]:
    """Read all summaries from the coordinator's process, which knows why a run failed; else from the disk."""
    from server.commands.connect import connect_to_coordinator
    from server.federation.folder import Federation
    from server.results.read import read_summary

    try:
        found: list[dict[str, Any]] = connect_to_coordinator(place).call("ListStudies")["items"]
    except FederationError as error:
        if not isinstance(place, Federation):
            raise
        _ = place.config  # raises if this is not a federation's folder
        say(f"{error}; no study continues without it")
        folders = [place.find_study_folder(study) for study in place.list_studies()]
        found = [read_summary(folder).model_dump(mode="json") for folder in folders]
    return found
