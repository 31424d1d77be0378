"""``consilium testimony``: export what the coordinator has seen of the sites' ledgers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from privacy.command_line import Commands, say
from privacy.errors import FederationError
from privacy.files import replace_file

if TYPE_CHECKING:
    from privacy.ledger.signed_head import Countersigned
    from server.federation.folder import Federation
    from server.federation.profile import Profile


@click.group(cls=Commands)
def testimony() -> None:
    """What this coordinator has seen of its sites' ledgers, for auditors and for a site that lost its own."""


@testimony.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def testimony_export(place: Federation | Profile, file: Path) -> None:
    """Write every round and every countersigned head to FILE, signed; see 'consilium-audit reconcile'."""
    from server.commands.connect import connect_to_coordinator
    from server.federation.folder import Federation

    if isinstance(place, Federation):
        from server.federation.testimony import write_testimony

        write_testimony(place, file)
    else:
        if file.exists():
            raise FederationError(f"{file}: there is a file already; name another one")
        data = b"".join(each["data"] for each in connect_to_coordinator(place).stream("ExportTestimony"))
        replace_file(file, data, FederationError)
    say(f"wrote {file}; check it with: consilium-audit reconcile {file} LEDGER...")


@testimony.command("head")
@click.argument("site")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def testimony_head(place: Federation | Profile, site: str, file: Path) -> None:
    """Write the newest countersigned head of SITE's ledger to FILE, with which SITE recovers from a backup."""
    newest = _read_newest_head(place, site)
    replace_file(file, newest.to_bytes() + b"\n", FederationError)
    say(
        f"wrote {file}, entry {newest.head.statement.number}; the site runs: consilium-site ledger recover {file.name}"
    )


def _read_newest_head(place: Federation | Profile, site: str) -> Countersigned:
    from privacy.document import parse
    from privacy.ledger.signed_head import Countersigned
    from server.commands.connect import connect_to_coordinator
    from server.federation.folder import Federation

    if not isinstance(place, Federation):
        document = connect_to_coordinator(place).call("ExportHead", site=site)["document"]
        return parse(document, Countersigned, FederationError, "head")
    newest = place.open_witness().read_newest_head(site)
    if newest is None:
        known = ", ".join(sorted(place.read_sites())) or "none"
        raise FederationError(f"no head of a ledger of '{site}' was seen; enrolled sites: {known}")
    return newest
