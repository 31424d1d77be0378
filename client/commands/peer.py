"""``consilium-site peer``: pin the identity keys of other sites, which people have compared."""

import click

from client.site.folder import SiteFolder
from privacy.command_line import Commands, print_json, print_table, say
from privacy.errors import SiteConfigError, WireError
from privacy.keys import PublicKey


@click.group(cls=Commands)
def peer() -> None:
    """Pin the keys of other sites, after people have compared them."""


@peer.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def peer_list(home: SiteFolder, as_json: bool) -> None:
    """List the pinned peers and their keys."""
    rows = [(name, key.typed) for name, key in sorted(home.load_peers().pinned.items())]
    if as_json:
        print_json({"peers": [{"name": name, "key": key} for name, key in rows]})
    else:
        print_table(("peer", "key"), rows)


@peer.command("trust")
@click.argument("name")
@click.argument("key", metavar="KEY", nargs=-1, required=True)
@click.pass_obj
def peer_trust(home: SiteFolder, name: str, key: tuple[str, ...]) -> None:
    """Pin KEY as the identity of the site NAME, after comparing it with its people.

    KEY is twelve groups of five characters; blanks may stand for the hyphens. Mistyped, it is refused.
    """
    try:
        public = PublicKey.from_typed(" ".join(key))
    except WireError as error:
        raise SiteConfigError(f"the key of '{name}': {error}") from None
    home.pin_peer(name, public)
    say(f"'{name}' is pinned")


@peer.command("forget")
@click.argument("name")
@click.pass_obj
def peer_forget(home: SiteFolder, name: str) -> None:
    """Trust NAME no more."""
    home.forget_peer(name)
    say(f"'{name}' is no longer pinned")
