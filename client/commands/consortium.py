"""``consilium-site consortium``: make a consortium's key, sign its list of members, revoke keys; offline."""

from pathlib import Path

import click

from privacy.command_line import Commands, print_json, print_table, say
from privacy.errors import SiteConfigError, WireError

_DIR = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
_OUT = click.option("--out", required=True, type=click.Path(path_type=Path), help="Write to this new file.")


@click.group(cls=Commands)
def consortium() -> None:
    """For whoever holds a consortium's key: sign who its members are. Needs no site and no network."""


@consortium.command("create")
@_DIR
@click.option("--name", required=True, help="What sites call the consortium: lower-case letters, digits, hyphens.")
def consortium_create(folder: Path, name: str) -> None:
    """Make the consortium's key in DIR, on a machine that is not the coordinator's and no site's."""
    from client.site.consortium_folder import ConsortiumFolder

    home = ConsortiumFolder.create(folder, name)
    say(f"made the key of the consortium '{name}' in {folder}; keep it offline, and a backup of it")
    say("its key, which every site's people compare and pin (consilium-site peer trust-consortium):")
    click.echo(home.load_key().public.typed)


@consortium.command("sign")
@_DIR
@click.argument("members", metavar="MEMBERS.yaml", type=click.Path(path_type=Path))
@click.option("--until", required=True, type=click.DateTime(["%Y-%m-%d"]), help="The last day of the list (UTC).")
@_OUT
def consortium_sign(folder: Path, members: Path, until: click.DateTime, out: Path) -> None:
    """Sign the next list: exactly the members that MEMBERS.yaml names, each with the key that people have compared.

    The file has one item for each member under 'members': name and key, and valid_from or valid_until where they
    are not the list's.
    """
    from client.site.consortium_folder import ConsortiumFolder, MembersFile
    from privacy.document import read_yaml

    lines = read_yaml(members, MembersFile, SiteConfigError).members
    _require_new(out)
    signed = ConsortiumFolder(folder).sign_list(lines, f"{until:%Y-%m-%d}", _read_today())
    _write_new(out, signed.to_bytes())
    statement = signed.statement
    say(
        f"wrote list {statement.number} of '{statement.consortium}', {len(statement.members)} members until "
        f"{statement.valid_until}; every site runs: consilium-site peer import {out.name}"
    )


@consortium.command("revoke")
@_DIR
@click.argument("name")
@click.option("--key", "typed", help="The key, if it is not the one in the newest list.")
@click.option("--reason", required=True, help="Why, in a sentence for the people of all sites.")
@_OUT
def consortium_revoke(folder: Path, name: str, typed: str | None, reason: str, out: Path) -> None:
    """Revoke the key of the member NAME for ever, whatever any list says."""
    from client.site.consortium_folder import ConsortiumFolder
    from privacy.keys import PublicKey

    try:
        key = None if typed is None else PublicKey.from_typed(typed)
    except WireError as error:
        raise SiteConfigError(f"the key of '{name}': {error}") from None
    _require_new(out)
    signed = ConsortiumFolder(folder).revoke(name, key, reason, _read_today())
    _write_new(out, signed.to_bytes())
    say(f"wrote {out}: the key of '{name}' is revoked; every site runs: consilium-site peer import {out.name}")


@consortium.command("show")
@_DIR
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def consortium_show(folder: Path, as_json: bool) -> None:
    """Show the consortium's key, its newest list and its revocations."""
    from client.site.consortium_folder import ConsortiumFolder
    from privacy.keys import PublicKey

    home = ConsortiumFolder(folder)
    key, state = home.load_key().public, home.load_state()
    newest = None if state.newest is None else state.newest.statement
    members = () if newest is None else newest.members
    rows = [
        *(
            (each.name, PublicKey.from_text(each.identity).typed, f"{each.valid_from} to {each.valid_until}")
            for each in members
        ),
        *(
            (each.name, PublicKey.from_text(each.identity).typed, f"revoked {each.day}: {each.reason}")
            for each in (signed.statement for signed in state.revoked)
        ),
    ]
    if as_json:
        print_json(
            {
                "consortium": state.name,
                "key": key.typed,
                "list": None if newest is None else newest.number,
                "valid_until": None if newest is None else newest.valid_until,
                "keys": [{"name": name, "key": typed, "standing": standing} for name, typed, standing in rows],
            }
        )
        return
    until = "no list is signed yet" if newest is None else f"list {newest.number}, until {newest.valid_until}"
    say(f"consortium '{state.name}', key {key.typed}; {until}")
    print_table(("member", "key", "standing"), rows)


def _read_today() -> str:
    from privacy.ledger.ledger import read_utc_time

    return f"{read_utc_time():%Y-%m-%d}"


def _require_new(path: Path) -> None:
    """Refuse a file that exists before anything is signed: a signed list has used its number."""
    if path.exists():
        raise SiteConfigError(f"{path}: there is a file already; name another one; nothing was signed")


def _write_new(path: Path, data: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(data + b"\n")
    except OSError as error:
        raise SiteConfigError(
            f"{path}: cannot be written: {error.strerror}; what was signed is kept in the consortium's folder: run the "
            "command again with another file"
        ) from None
