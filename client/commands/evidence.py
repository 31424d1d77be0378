"""``consilium-site evidence``: one signed file that shows a security officer what is installed and in force here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from privacy.command_line import say
from privacy.errors import SiteConfigError

if TYPE_CHECKING:
    from client.site.folder import SiteFolder


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.pass_obj
def evidence(home: SiteFolder, file: Path) -> None:
    """Write signed evidence to FILE (JSON): versions, packages, policy, check, pinned keys, the ledger's head.

    No record, nothing computed from records, and no secret goes in. 'consilium-audit verify-evidence' checks the file
    anywhere, without this site and without a network.
    """
    from client.health.evidence import collect_evidence
    from privacy.health import Light

    pack = collect_evidence(home)
    _write_new(file, pack.to_bytes())
    said = pack.evidence.statement
    say(f"wrote {file}: {len(said.checks)} checks, {len(pack.sbom.components)} packages, signed by")
    click.echo(home.load_identity().public.typed)
    if red := [each.check for each in said.checks if each.light is Light.RED]:
        say(f"red, and in the file as such: {', '.join(red)}; their next steps: consilium-site check")


def _write_new(file: Path, data: bytes) -> None:
    """Write a new file, whole or not at all.

    Raises:
        SiteConfigError: it exists, or cannot be written.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
        except BaseException:
            file.unlink()
            raise
    except OSError as error:
        raise SiteConfigError(f"{file}: cannot be written: {error.strerror}; name another file") from None
