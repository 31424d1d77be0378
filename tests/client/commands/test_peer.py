"""``consilium-site peer``."""

import json
from pathlib import Path

import pytest

from privacy.errors import SiteConfigError
from tests.client.commands.terminal import site
from tests.privacy.launch_makers import key_number

KEY = key_number(3).public.text


def test_peers_are_trusted_listed_and_forgotten(folder: Path) -> None:
    site(folder, "peer", "trust", "birch", KEY)
    assert site(folder, "peer", "list").stdout == f"peer   key\nbirch  {KEY}\n"
    assert json.loads(site(folder, "peer", "list", "--json").stdout) == {"peers": [{"name": "birch", "key": KEY}]}
    site(folder, "peer", "forget", "birch")
    assert json.loads(site(folder, "peer", "list", "--json").stdout) == {"peers": []}


def test_peer_with_another_key_is_refused(folder: Path) -> None:
    site(folder, "peer", "trust", "birch", KEY)
    with pytest.raises(SiteConfigError, match="consilium-site peer forget birch"):
        site(folder, "peer", "trust", "birch", key_number(4).public.text)
