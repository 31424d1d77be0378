"""``consilium-site peer``."""

import json
from pathlib import Path

import pytest

from privacy.errors import SiteConfigError
from tests.client.commands.terminal import site
from tests.privacy.launch_makers import key_number

KEY = key_number(3).public.typed


def listed(folder: Path) -> dict[str, str]:
    found = json.loads(site(folder, "peer", "list", "--json").stdout)
    assert (found["not_believed"], found["consortium"]) == ([], None)
    return {each["name"]: each["key"] for each in found["peers"]}


def test_peers_are_trusted_listed_and_forgotten(folder: Path) -> None:
    site(folder, "peer", "trust", "birch", KEY)
    assert site(folder, "peer", "list").stdout.splitlines()[1] == f"birch  {KEY}  pinned here"
    assert listed(folder) == {"birch": KEY}
    site(folder, "peer", "forget", "birch")
    assert listed(folder) == {}


def test_peer_with_another_key_is_refused(folder: Path) -> None:
    site(folder, "peer", "trust", "birch", KEY)
    with pytest.raises(SiteConfigError, match="consilium-site peer forget birch"):
        site(folder, "peer", "trust", "birch", key_number(4).public.typed)


def test_key_read_out_in_groups_is_taken_and_a_mistyped_one_is_not(folder: Path) -> None:
    site(folder, "peer", "trust", "birch", *KEY.upper().split("-"))
    assert listed(folder) == {"birch": KEY}
    wrong = KEY[:20] + ("2" if KEY[20] != "2" else "3") + KEY[21:]
    with pytest.raises(SiteConfigError, match="the key of 'cedar': a key was mistyped"):
        site(folder, "peer", "trust", "cedar", wrong)


def test_key_mistyped_in_the_file_is_refused(folder: Path) -> None:
    site(folder, "peer", "trust", "birch", KEY)
    file = folder / "peers.json"
    assert KEY in file.read_text()
    file.write_text(file.read_text().replace(KEY, KEY[:-2] + KEY[-1] + KEY[-2]))
    with pytest.raises(SiteConfigError, match="a key was mistyped"):
        site(folder, "peer", "list")
