"""``consilium study list`` and ``study watch``: what studies do and have done."""

import click

from privacy.console import print_json, print_table
from privacy.errors import StoppedError
from server.commands.reach import reach
from server.federation import Federation


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_studies(federation: Federation, as_json: bool) -> None:
    """Every study of this federation."""
    found = reach(federation).call("studies")
    if as_json:
        print_json(found)
        return
    rows = [
        (each["study"], each["standing"], f"{each['committed']} of {each['rounds']}", each["why"])
        for each in found["studies"]
    ]
    print_table(("study", "", "rounds", ""), rows)


@click.command()
@click.argument("name", metavar="STUDY")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a line.")
@click.pass_obj
def watch(federation: Federation, name: str, as_json: bool) -> None:
    """Follow STUDY until it is finished or stopped."""
    from server.progress import Progress

    with Progress(quiet=as_json) as progress:
        for note in reach(federation).stream("watch", study=name, after=0):
            if as_json and note["kind"] != "beat":
                print_json(note)
            progress.take(note)
            if note["kind"] == "end" and note["standing"] == "stopped":
                raise StoppedError(f"the study '{name}' stands still: {note['why']}")
