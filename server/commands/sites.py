"""``consilium sites``: list, enrol and remove sites."""

from pathlib import Path

import click

from privacy.command_line import Commands, print_json, print_table, say
from privacy.errors import FederationError
from privacy.keys import PublicKey
from privacy.protocol.enrolment import SignedJoinRequest, read_enrolment
from server.commands.connect import connect_to_coordinator
from server.federation.folder import Federation


@click.group(cls=Commands, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def sites(context: click.Context, as_json: bool) -> None:
    """List the enrolled sites, their identity keys, and who is online."""
    if context.invoked_subcommand is not None:
        return
    federation: Federation = context.obj
    _ = federation.config
    enrolled = {
        name: PublicKey.from_text(site.identity).typed for name, site in sorted(federation.read_sites().items())
    }
    online = _list_online_sites(federation)
    if as_json:
        print_json(
            {
                "sites": [
                    {"name": name, "identity": key, "online": None if online is None else name in online}
                    for name, key in enrolled.items()
                ]
            }
        )
        return
    unknown = "?" if online is None else "-"
    print_table(
        ("site", "", "identity key"),
        [(name, "online" if name in (online or ()) else unknown, key) for name, key in enrolled.items()],
    )
    if online is None:
        say("who is online is not known: the coordinator does not run; start it with: consilium up")


def _list_online_sites(federation: Federation) -> list[str] | None:
    """List the sites that are online; None if the coordinator does not run."""
    from server.control.channel import NotRunningError

    try:
        sites = connect_to_coordinator(federation).call("sites")["sites"]
    except NotRunningError:
        return None
    return [site["name"] for site in sites if site["online"]]


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
    click.echo(PublicKey.from_text(admission.statement.identity).typed)


@sites.command("forget")
@click.argument("name")
@click.pass_obj
def sites_forget(federation: Federation, name: str) -> None:
    """Enrol the site NAME no more, so that it can come back with a new key. Its studies keep its old one."""
    federation.forget(name)
    say(f"'{name}' is no longer enrolled; admit its new request with: consilium sites admit REQUEST --out FILE")
