"""``consilium log``: who changed what at the coordinator."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import click

from privacy.command_line import print_json, print_table, say

if TYPE_CHECKING:
    from server.federation.folder import Federation
    from server.federation.profile import Profile


@click.command()
@click.option("--after", type=click.IntRange(0), default=0, help="Only the entries after this number.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a line.")
@click.pass_obj
def log(place: Federation | Profile, after: int, as_json: bool) -> None:
    """Who changed what, when: verify the log's chain and print it. Keep the last hash elsewhere."""
    from server.commands.connect import connect_to_coordinator
    from server.federation.folder import Federation

    entries: list[dict[str, Any]] = []
    if isinstance(place, Federation):
        _ = place.config
        found = place.open_audit_log().read(after)
        entries = [{**each.model_dump(mode="json"), "hash": each.digest} for each in found]
    else:
        entries = [each["document"] for each in connect_to_coordinator(place).stream("ReadLog", after=after)]
    if as_json:
        for each in entries:
            print_json(each)
        return
    print_table(
        ("", "time (UTC)", "who", "", "about", "outcome"),
        [
            (str(each["number"]), _format(each["time"]), _name(each), each["call"], each["about"], each["outcome"])
            for each in entries
        ],
    )
    if entries:
        say(f"the chain holds; the hash of entry {entries[-1]['number']} is {entries[-1]['hash']}")


def _format(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _name(entry: dict[str, Any]) -> str:
    account = f" ({entry['account']})" if entry["account"] else ""
    return f"{entry['role']} {entry['name']}{account}"
