"""``consilium testimony``: export what the coordinator has seen of the sites' ledgers."""

from pathlib import Path

import click

from privacy.command_line import Commands, say
from privacy.errors import FederationError
from privacy.files import replace_file
from server.federation.folder import Federation


@click.group(cls=Commands)
def testimony() -> None:
    """What this coordinator has seen of its sites' ledgers, for auditors and for a site that lost its own."""


@testimony.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def testimony_export(federation: Federation, file: Path) -> None:
    """Write every round and every countersigned head to FILE, signed; see 'consilium-audit reconcile'."""
    from server.federation.testimony import write_testimony

    write_testimony(federation, file)
    say(f"wrote {file}; check it with: consilium-audit reconcile {file} LEDGER...")


@testimony.command("head")
@click.argument("site")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def testimony_head(federation: Federation, site: str, file: Path) -> None:
    """Write the newest countersigned head of SITE's ledger to FILE, with which SITE recovers from a backup."""
    newest = federation.open_witness().read_newest_head(site)
    if newest is None:
        known = ", ".join(sorted(federation.read_sites())) or "none"
        raise FederationError(f"no head of a ledger of '{site}' was seen; enrolled sites: {known}")
    replace_file(file, newest.to_bytes() + b"\n", FederationError)
    say(
        f"wrote {file}, entry {newest.head.statement.number}; the site runs: consilium-site ledger recover {file.name}"
    )
