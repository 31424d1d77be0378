"""``consilium study launch``, ``stop``, ``resume`` and ``give-up``.

Commands that only read are in ``server/commands/study_results.py``.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from privacy.command_line import print_json, say
from privacy.errors import FederationError

if TYPE_CHECKING:
    from server.federation.folder import Federation
    from server.federation.profile import Profile


@click.command("launch")
@click.argument("file", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--site", "names", multiple=True, help="Invite this site; repeat. Without it: all enrolled sites.")
@click.option("--despite", is_flag=True, help="Launch although 'study check' finds a PROBLEM.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def study_launch(
    place: "Federation | Profile", file: Path, names: tuple[str, ...], despite: bool, as_json: bool
) -> None:
    """Sign STUDY.yaml and invite sites; they admit or refuse it."""
    from privacy.study import read_terms
    from server.commands.launching import launch

    launched = launch(place, read_terms(file), names, despite=despite)
    if as_json:
        print_json({"study": launched})
    else:
        click.echo(launched)


@click.command("stop")
@click.argument("name", metavar="STUDY")
@click.pass_obj
def study_stop(place: "Federation | Profile", name: str) -> None:
    """Stop STUDY after what it is doing now; nothing is lost, and 'resume' continues it."""
    from server.commands.connect import connect_to_coordinator

    standing = connect_to_coordinator(place).call("StopStudy", study=name)["standing"]
    if standing == "open":
        say(f"'{name}' stops after what it is doing now; continue with: consilium study resume {name}")
    elif standing == "stopped":
        say(f"'{name}' is stopped already; continue with: consilium study resume {name}")
    else:
        raise FederationError(f"the study '{name}' is {standing}; there is nothing to stop")


@click.command("resume")
@click.argument("name", metavar="STUDY")
@click.option("--readmit", multiple=True, metavar="SITE", help="Let a site that is out take part again; repeat.")
@click.pass_obj
def study_resume(place: "Federation | Profile", name: str, readmit: tuple[str, ...]) -> None:
    """Resume a stopped STUDY."""
    from server.commands.connect import connect_to_coordinator

    connect_to_coordinator(place).call("ResumeStudy", study=name, readmit=list(readmit))
    say(f"'{name}' continues")


@click.command("give-up")
@click.argument("name", metavar="STUDY")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def study_give_up(place: "Federation | Profile", name: str, yes: bool) -> None:
    """Give up a stopped STUDY: every site closes its account, and what it has not used is free again.

    For a study that could not begin, or will not continue. No model is released, and it cannot be resumed. A site that
    cannot be reached now frees its account by itself, after the terms' cohort.abandon_after_days.
    """
    from server.commands.connect import connect_to_coordinator

    if not yes and sys.stdin.isatty():
        click.confirm(f"'{name}' ends for good, at every site, without a model. Give it up?", abort=True, err=True)
    connect_to_coordinator(place).call("GiveUpStudy", study=name)
    say(f"'{name}' is given up; its sites are being told (see: consilium study watch {name})")
