"""``consilium-site peer``: whom this site believes: keys that people have compared, and a consortium's members."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from privacy.command_line import Commands, print_json, print_table, say
from privacy.errors import Error, SiteConfigError, WireError
from privacy.exchanged_files import read_exchanged_document

if TYPE_CHECKING:
    from client.site.folder import SiteFolder
    from client.site.peers import Peers
    from privacy.keys import PublicKey


@click.group(cls=Commands)
def peer() -> None:
    """Pin the keys of other sites, after people have compared them, or that of a consortium that vouches for them."""


@peer.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def peer_list(home: SiteFolder, as_json: bool) -> None:
    """List the peers that are believed today with their keys and on whose word, and who is not believed, and why."""
    peers, today = home.load_peers(), _read_today()
    believed = peers.find_believed(today, home.config.name)
    rows = [(name, key.typed, _describe_word(peers, name)) for name, key in sorted(believed.keys.items())]
    trusted = peers.consortium
    newest = None if trusted is None or trusted.newest is None else trusted.newest.statement
    if as_json:
        print_json(
            {
                "peers": [{"name": name, "key": key, "word": word} for name, key, word in rows],
                "not_believed": [{"name": name, "why": why} for name, why in sorted(believed.doubts.items())],
                "consortium": None
                if trusted is None
                else {
                    "name": trusted.name,
                    "key": trusted.key.typed,
                    "list": None if newest is None else newest.number,
                    "valid_until": None if newest is None else newest.valid_until,
                },
            }
        )
        return
    print_table(("peer", "key", "word"), rows)
    for _, why in sorted(believed.doubts.items()):
        say(f"not believed: {why}")
    if trusted is not None:
        number = (
            "no list is imported yet" if newest is None else f"list {newest.number}, until {newest.valid_until}"
        )
        say(f"consortium '{trusted.name}', key {trusted.key.typed}; {number}")


@peer.command("trust")
@click.argument("name")
@click.argument("key", metavar="KEY", nargs=-1, required=True)
@click.pass_obj
def peer_trust(home: SiteFolder, name: str, key: tuple[str, ...]) -> None:
    """Pin KEY as the identity of the site NAME, after comparing it with its people.

    KEY is twelve groups of five characters; blanks may stand for the hyphens. Mistyped, it is refused. It counts
    before a consortium's word for NAME.
    """
    public = _parse_key(f"the key of '{name}'", key)
    before = home.load_peers().find_believed(_read_today()).keys.get(name, public)
    home.pin_peer(name, public)
    say(f"'{name}' is pinned")
    if before != public:
        say(
            f"WARNING: the consortium's list gives '{name}' another key, {before.typed}: one of both is wrong. Your "
            "pin counts here; tell the consortium's people"
        )


@peer.command("forget")
@click.argument("name")
@click.pass_obj
def peer_forget(home: SiteFolder, name: str) -> None:
    """Remove the pin of NAME; a consortium's word for it counts again, if there is one."""
    home.forget_peer(name)
    say(f"'{name}' is no longer pinned")
    if name in home.load_peers().find_believed(_read_today()).keys:
        say(f"'{name}' is still believed, by the consortium's list")


@peer.command("trust-consortium")
@click.argument("name")
@click.argument("key", metavar="KEY", nargs=-1, required=True)
@click.pass_obj
def peer_trust_consortium(home: SiteFolder, name: str, key: tuple[str, ...]) -> None:
    """Pin KEY as the key of the consortium NAME, after comparing it with its people: its members become peers.

    Whoever holds this key decides who this site's peers are. It must not be whoever coordinates studies.
    """
    home.trust_consortium(name, _parse_key(f"the key of the consortium '{name}'", key))
    say(f"the consortium '{name}' is trusted; take in its newest list: consilium-site peer import LIST")


@peer.command("forget-consortium")
@click.pass_obj
def peer_forget_consortium(home: SiteFolder) -> None:
    """Trust the consortium no more: its members are no peers, its revocations are forgotten; pins stay."""
    home.change_peers(lambda peers: peers.forget_consortium())
    say("no consortium is trusted here; only pinned peers are believed")


@peer.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def peer_import(home: SiteFolder, file: Path) -> None:
    """Take in FILE, a list of members or a revocation that the trusted consortium has signed.

    It does not matter who hands it over.
    """
    from privacy.consortium import SignedList, SignedRevocation
    from privacy.document import parse

    value, today = read_exchanged_document(file, SiteConfigError), _read_today()
    before = home.load_peers().find_believed(today, home.config.name)
    statement = value.get("statement") if isinstance(value, dict) else None
    if isinstance(statement, dict) and "members" in statement:
        signed = parse(value, SignedList, SiteConfigError, str(file))
        peers = home.change_peers(lambda known: known.take_list(signed, today))
    else:
        revocation = parse(value, SignedRevocation, SiteConfigError, str(file))
        peers = home.change_peers(lambda known: known.take_revocation(revocation))
    after = peers.find_believed(today, home.config.name)
    for name in sorted(set(after.keys) - set(before.keys)):
        say(f"believed now: '{name}', {after.keys[name].typed}")
    for name in sorted(set(before.keys) & set(after.keys)):
        if before.keys[name] != after.keys[name]:
            say(f"'{name}' has a new key, {after.keys[name].typed}; before, {before.keys[name].typed}")
    for name in sorted(set(before.keys) - set(after.keys)):
        say(f"believed no more: {after.doubts.get(name, f'{name!r} is not on the list')}")
    _warn_of_own_key(home, peers)
    _warn_of_open_studies(home, peers)
    say(f"took in {file}; {len(after.keys)} peers are believed today")


def _warn_of_own_key(home: SiteFolder, peers: Peers) -> None:
    """Say loudly if others, who believe the same list, will refuse this site."""
    own, name = home.load_identity().public, home.config.name
    trusted = peers.consortium
    if trusted is None or trusted.newest is None:
        return
    if own.text in trusted.revocations:
        say(f"WARNING: the consortium has revoked this site's own key: {trusted.revocations[own.text].reason}")
    listed = next((each.identity for each in trusted.newest.statement.members if each.name == name), own.text)
    if listed != own.text:
        say(f"WARNING: the list gives '{name}' a key that is not this site's ({own.typed}); tell its people")


def _warn_of_open_studies(home: SiteFolder, peers: Peers) -> None:
    """Name the open studies in which a revoked key takes part: a pin, and so a revocation, counts at admission."""
    from client.study.store import StudyStore

    revoked = {} if peers.consortium is None else peers.consortium.revocations
    for path in sorted((home.folder / "studies").glob("*/state.json")):
        try:
            store = StudyStore(path.parent)
        except Error:  # a damaged study is reported when it continues
            continue
        for member in store.launch.roster:
            if member.identity in revoked and not store.state.closed:
                study = store.launch.study
                say(
                    f"WARNING: the revoked key of '{member.name}' takes part in the study '{study}', which was "
                    f"admitted before and goes on; to leave it: consilium-site withdraw {study}"
                )


def _describe_word(peers: Peers, name: str) -> str:
    trusted = peers.consortium
    if name in peers.pinned or trusted is None or trusted.newest is None:
        return "pinned here"
    return f"{trusted.name}, list {trusted.newest.statement.number}"


def _parse_key(what: str, words: tuple[str, ...]) -> PublicKey:
    from privacy.keys import PublicKey

    try:
        return PublicKey.from_typed(" ".join(words))
    except WireError as error:
        raise SiteConfigError(f"{what}: {error}") from None


def _read_today() -> str:
    from privacy.ledger.ledger import read_utc_time

    return f"{read_utc_time():%Y-%m-%d}"
