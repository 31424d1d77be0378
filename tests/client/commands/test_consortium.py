"""``consilium-site consortium``, and what ``consilium-site peer`` makes of its files."""

import contextlib
import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from client.site.folder import SiteFolder
from privacy.errors import KeyFileError, SiteConfigError
from privacy.protocol.enrolment import Admission, SignedAdmission
from tests.client.commands.terminal import script, site
from tests.privacy.launch_makers import COORDINATOR_KEY, key_number

UNTIL = f"{datetime.now(UTC) + timedelta(days=300):%Y-%m-%d}"


class Holder:
    """Who holds the consortium's key, with a folder that is no site's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "trees"
        self.key = site(folder, "consortium", "create", str(self.folder), "--name", "trees").stdout.strip()

    def sign(self, members: dict[str, int], name: str = "list.json", until: str = UNTIL) -> Path:
        lines = "".join(
            f"  - {{name: {each}, key: {key_number(key).public.typed}}}\n" for each, key in members.items()
        )
        (self.folder.parent / "members.yaml").write_text(f"members:\n{lines}")
        out = self.folder.parent / name
        yaml = str(self.folder.parent / "members.yaml")
        site(self.folder, "consortium", "sign", str(self.folder), yaml, "--until", until, "--out", str(out))
        return out

    def revoke(self, name: str, *options: str) -> Path:
        out = self.folder.parent / f"revoked-{name}.json"
        reason = ("--reason", "its laptop was stolen", "--out", str(out))
        site(self.folder, "consortium", "revoke", str(self.folder), name, *reason, *options)
        return out


@pytest.fixture
def holder(tmp_path: Path) -> Holder:
    return Holder(tmp_path)


def believed(folder: Path) -> list[str]:
    return [each["name"] for each in json.loads(site(folder, "peer", "list", "--json").stdout)["peers"]]


def test_site_believes_the_members_of_the_list_it_imported(folder: Path, holder: Holder) -> None:
    site(folder, "peer", "trust-consortium", "trees", holder.key)
    first = holder.sign({"birch": 3, "cedar": 4})
    shown = site(folder, "peer", "import", str(first)).stderr
    assert "believed now: 'birch'" in shown
    assert "2 peers are believed today" in shown
    site(folder, "peer", "import", str(holder.sign({"birch": 5}, "second.json")))
    listed = site(folder, "peer", "list")
    assert re.search(rf"birch  {key_number(5).public.typed}  trees, list 2", listed.stdout)
    assert believed(folder) == ["birch"]
    with pytest.raises(SiteConfigError, match="an older list never replaces"):
        site(folder, "peer", "import", str(first))
    site(folder, "peer", "forget-consortium")
    assert believed(folder) == []


def test_revocation_reaches_a_site_before_the_next_list(folder: Path, holder: Holder) -> None:
    site(folder, "peer", "trust-consortium", "trees", holder.key)
    site(folder, "peer", "import", str(holder.sign({"birch": 3, "cedar": 4})))
    shown = site(folder, "peer", "import", str(holder.revoke("birch"))).stderr
    assert "believed no more: the consortium 'trees' has revoked the key of 'birch'" in shown
    assert believed(folder) == ["cedar"]
    assert "its laptop was stolen" in site(folder, "peer", "list").stderr
    with pytest.raises(SiteConfigError, match="a revoked key never comes back"):
        holder.sign({"birch": 3}, "second.json")
    third = json.loads(holder.sign({"birch": 9}, "third.json").read_text())["statement"]
    assert third["number"] == 2  # what was refused has used no number
    assert [each["statement"]["name"] for each in third["revoked"]] == ["birch"]
    assert "revoked" in site(folder, "consortium", "show", str(holder.folder)).stdout
    assert json.loads(site(folder, "consortium", "show", str(holder.folder), "--json").stdout)["list"] == 2


def test_pin_against_the_list_counts_and_is_loud(folder: Path, holder: Holder) -> None:
    site(folder, "peer", "trust-consortium", "trees", holder.key)
    site(folder, "peer", "import", str(holder.sign({"birch": 3})))
    assert "WARNING" in site(folder, "peer", "trust", "birch", key_number(9).public.typed).stderr
    assert key_number(9).public.typed in site(folder, "peer", "list").stdout
    with pytest.raises(SiteConfigError, match="one is wrong"):
        site(folder, "peer", "import", str(holder.sign({"birch": 3, "cedar": 4}, "second.json")))
    assert "still believed, by the consortium's list" in site(folder, "peer", "forget", "birch").stderr


def test_site_whose_own_key_is_listed_otherwise_is_told(folder: Path, holder: Holder) -> None:
    site(folder, "peer", "trust-consortium", "trees", holder.key)
    assert "not this site's" in site(folder, "peer", "import", str(holder.sign({"ash": 3}))).stderr


def test_coordinators_key_is_no_consortiums_whichever_comes_first(folder: Path) -> None:
    home = SiteFolder(folder)
    admission = SignedAdmission.sign(
        COORDINATOR_KEY,
        Admission(
            federation="wood", name="ash", identity=home.load_identity().public.text,
            coordinator=COORDINATOR_KEY.public.text, address="127.0.0.1:9092", control="127.0.0.1:9093",
            ca_certificate="x", certificate="x",
        ),
    )  # fmt: skip
    site(folder, "peer", "trust-consortium", "trees", COORDINATOR_KEY.public.typed)
    with pytest.raises(SiteConfigError, match="whoever coordinates must not decide that"):
        home.accept_admission(admission)
    site(folder, "peer", "forget-consortium")
    (folder / "admission.json").write_bytes(admission.to_bytes())
    with pytest.raises(SiteConfigError, match="is that of the coordinator"):
        site(folder, "peer", "trust-consortium", "trees", COORDINATOR_KEY.public.typed)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"statement": []}', '{"statement": {"members": 3}, "signature": "x"}', '{"statement": {}}'],
)
def test_file_that_is_neither_a_list_nor_a_revocation_is_named(folder: Path, holder: Holder, text: str) -> None:
    site(folder, "peer", "trust-consortium", "trees", holder.key)
    file = folder.parent / "odd.json"
    file.write_text(text)
    before = (folder / "peers.json").read_bytes()
    with pytest.raises(SiteConfigError, match=r"odd\.json"):
        site(folder, "peer", "import", str(file))
    assert (folder / "peers.json").read_bytes() == before


def test_every_changed_byte_of_a_list_is_refused_or_changes_nothing(folder: Path, holder: Holder) -> None:
    site(folder, "peer", "trust-consortium", "trees", holder.key)
    file = holder.sign({"birch": 3, "cedar": 4})
    whole = file.read_bytes()
    site(folder, "peer", "import", str(file))
    here = (folder / "peers.json").read_bytes()
    for place in range(0, len(whole), 13):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with contextlib.suppress(SiteConfigError):
            site(folder, "peer", "import", str(file))
        assert (folder / "peers.json").read_bytes() == here


def test_holder_is_told_what_is_wrong(folder: Path, holder: Holder) -> None:
    with pytest.raises(SiteConfigError, match="the newest list has no member 'elm'"):
        holder.revoke("elm")
    holder.revoke("elm", "--key", key_number(7).public.typed)
    with pytest.raises(SiteConfigError, match="there is a file already"):
        holder.revoke("elm", "--key", key_number(7).public.typed)
    with pytest.raises(SiteConfigError, match="two members have the same key"):
        holder.sign({"birch": 3, "cedar": 3})
    with pytest.raises(SiteConfigError, match=r"no consortium\.key here"):
        site(folder, "consortium", "show", str(folder))
    os.chmod(holder.folder / "consortium.key", 0o644)
    with pytest.raises(KeyFileError):
        holder.sign({"birch": 3})


def test_no_traceback_reaches_who_mistypes(tmp_path: Path) -> None:
    holder = Holder(tmp_path)
    (tmp_path / "members.yaml").write_text("members:\n  - {name: birch, key: nonsense}\n")
    done = script(
        "consortium", "sign", str(holder.folder), str(tmp_path / "members.yaml"),
        "--until", UNTIL, "--out", str(tmp_path / "l"),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (21, "")
    assert done.stderr.startswith("consilium-site: the key of 'birch'")
