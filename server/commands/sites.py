"""``consilium sites``: who is enrolled, and enrolling them."""

from pathlib import Path

import click

from privacy.console import print_json, print_table, say
from privacy.enrolment import SignedJoinRequest, read_enrolment
from privacy.errors import FederationError
from server.commands.reach import reach
from server.federation import Federation


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def sites(context: click.Context, as_json: bool) -> None:
    """The enrolled sites, their identity keys, and who is online."""
    if context.invoked_subcommand is not None:
        return
    found = reach(context.obj).call("sites")
    if as_json:
        print_json(found)
        return
    rows = [(site["name"], "online" if site["online"] else "-", site["identity"]) for site in found["sites"]]
    print_table(("site", "", "identity key"), rows)


@sites.command("admit")
@click.argument("request", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Write the admission to this file.")
@click.pass_obj
def sites_admit(federation: Federation, request: Path, out: Path) -> None:
    """Enrol the site that made REQUEST; write the admission that goes back to it."""
    signed = read_enrolment(request, SignedJoinRequest, FederationError)
    admission = federation.enrol(signed)
    try:
        out.write_bytes(admission.to_bytes() + b"\n")
    except OSError as error:
        raise FederationError(f"{out}: cannot be written: {error.strerror}") from None
    say(f"enrolled '{admission.statement.name}'; hand {out} back to it. Its identity key:")
    click.echo(admission.statement.identity)


@sites.command("forget")
@click.argument("name")
@click.pass_obj
def sites_forget(federation: Federation, name: str) -> None:
    """Enrol the site NAME no more, so that it can come back with a new key. Its studies keep its old one."""
    federation.forget(name)
    say(f"'{name}' is no longer enrolled; admit its new request with: consilium sites admit REQUEST --out FILE")
