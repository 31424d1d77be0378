"""``consilium sites``: list the enrolled sites, and who is online."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from privacy.command_line import print_json, print_table, say

if TYPE_CHECKING:
    from server.federation.folder import Federation
    from server.federation.profile import Profile


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def sites(place: Federation | Profile, as_json: bool) -> None:
    """List the enrolled sites: who is online, identity keys, and the program that each said to run."""
    found = _list_sites(place)
    if as_json:
        print_json({"sites": found})
        return
    print_table(
        ("site", "", "identity key", "program", "contact"),
        [
            (
                each["name"],
                {True: "online", False: "-", None: "?"}[each["online"]],
                each["identity"],
                each["program"] or "-",
                each["contact"],
            )
            for each in found
        ],
    )
    if any(each["online"] is None for each in found):
        say("who is online is not known: the coordinator does not run; start it with: consilium up")


def _list_sites(place: Federation | Profile) -> list[dict[str, Any]]:
    """List the sites; who is online is None if the coordinator does not run."""
    from privacy.control.channel import NotRunningError
    from privacy.keys import PublicKey
    from server.commands.connect import connect_to_coordinator
    from server.federation.folder import Federation

    try:
        found: list[dict[str, Any]] = connect_to_coordinator(place).call("ListSites")["items"]
    except NotRunningError:
        if not isinstance(place, Federation):
            raise
        programs = place.read_programs()
        return [
            {
                "name": name,
                "program": programs[name].short if name in programs else None,
                "online": None,
                "identity": PublicKey.from_text(site.identity).typed,
                "contact": site.contact,
            }
            for name, site in sorted(place.read_sites().items())
        ]
    return found
