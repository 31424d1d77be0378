"""A site's folder: made once, its owner's alone, and refused by the name of the file that is wrong."""

import datetime
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmarks.small_study import small_terms
from client.site.folder import SiteFolder
from client.site.policy import Policy
from client.site.registry import Registration
from privacy.client_certificate import Role, Subject
from privacy.errors import KeyFileError, LedgerError, SiteConfigError
from privacy.protocol.enrolment import Admission, SignedAdmission
from server.federation.certificates import create_authority
from server.federation.client_certificates import issue_client_certificate
from tests.privacy.launch_makers import COORDINATOR_KEY, key_number

REGISTRATION = Registration(
    contract=small_terms().data,
    population="small",
    train="/a.csv",
    test="/b.csv",
    train_sha256="0" * 64,
    test_sha256="1" * 64,
    public_patients=60,
)


@pytest.fixture
def home(tmp_path: Path) -> SiteFolder:
    return SiteFolder.create(tmp_path / "ash", "ash")


def admission_for(home: SiteFolder, **changes: Any) -> SignedAdmission:
    """Admit the site: a certificate of an authority made here, for the TLS key that it has just made."""
    request = home.credentials.make_request("ash")
    with tempfile.TemporaryDirectory() as folder:
        authority = create_authority(Path(folder), "wood")
        subject = Subject("wood", Role.SITE, "ash")
        issued = issue_client_certificate(authority, request, subject, datetime.datetime.now(datetime.UTC))
    statement = {
        "federation": "wood",
        "name": "ash",
        "identity": home.load_identity().public.text,
        "coordinator": COORDINATOR_KEY.public.text,
        "address": "127.0.0.1:9092",
        "control": "127.0.0.1:9092",
        "ca_certificate": "-----BEGIN CERTIFICATE-----\n",
        "certificate": issued.pem,
        **changes,
    }
    return SignedAdmission.sign(COORDINATOR_KEY, Admission(**statement))


def test_new_site_is_its_owners_alone(home: SiteFolder) -> None:
    assert home.folder.stat().st_mode & 0o777 == 0o700
    for name in ("identity.key", "node.key", "ledger.sqlite"):
        assert (home.folder / name).stat().st_mode & 0o077 == 0, name


@pytest.mark.parametrize("existing", [False, True], ids=["new folder", "empty folder"])
def test_init_that_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    folder = tmp_path / "ash"
    if existing:
        folder.mkdir()
    monkeypatch.setattr("sqlite3.connect", full_disk)
    with pytest.raises((LedgerError, SiteConfigError)):
        SiteFolder.create(folder, "ash")
    assert list(tmp_path.rglob("*")) == ([folder] if existing else [])
    monkeypatch.undo()
    SiteFolder.create(folder, "ash").open_ledger().close()


def full_disk(*_: object, **__: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")


def test_new_site_has_a_policy_that_protects(home: SiteFolder) -> None:
    config = home.config
    assert (config.name, config.device) == ("ash", "auto")
    assert home.policy == Policy(
        models=("all",),
        epsilon_per_study=3.0,
        minimum_sites=3,
        minimum_patients=50,
        without_privacy=(),
        unprotected_test_patients=False,
    )
    assert (home.folder / "site.yaml").read_text().startswith("# Who this site is")


def test_new_site_has_a_ledger_and_nothing_else(home: SiteFolder) -> None:
    with home.open_ledger() as ledger:
        assert ledger.site == "ash"
    assert home.load_peers().pinned == {}
    assert home.load_registry().registrations == {}
    assert list((home.folder / "studies").iterdir()) == []


def test_sites_have_keys_of_their_own(home: SiteFolder, tmp_path: Path) -> None:
    other = SiteFolder.create(tmp_path / "birch", "birch")
    assert other.load_identity().public != home.load_identity().public
    assert other.make_join_request().statement.node_key != home.make_join_request().statement.node_key


def test_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(SiteConfigError, match="the folder is not empty; choose another, nothing was changed"):
        SiteFolder.create(tmp_path, "ash")
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


def test_site_is_not_made_over_another(home: SiteFolder) -> None:
    key = home.load_identity().public
    with pytest.raises(SiteConfigError, match="the folder is not empty"):
        SiteFolder.create(home.folder, "ash")
    assert home.load_identity().public == key


def test_name_that_is_none_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(SiteConfigError, match="site: name: expected a name: a small letter"):
        SiteFolder.create(tmp_path / "new", "St. Ash")
    assert not (tmp_path / "new").exists()


def test_folder_that_is_no_site_is_refused_with_the_next_step(tmp_path: Path) -> None:
    home = SiteFolder(tmp_path / "none")
    for ask in (
        lambda: home.config,
        home.load_identity,
        home.load_peers,
        home.load_registry,
        home.open_ledger,
        home.make_join_request,
    ):
        with pytest.raises(SiteConfigError, match=r"no site\.yaml here; make a site with: consilium-site init DIR"):
            ask()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("epsilon_per_stdy: 1", "epsilon_per_stdy: unknown key; did you mean 'epsilon_per_study'?"),
        ("minimum_sites: 2", "minimum_sites: expected at least 3"),
        ("minimum_patients: 5", "minimum_patients: expected at least 10"),
        ("without_privacy: true", "without_privacy: list the populations whose patients"),
        ("models: []", "models: expected at least 1 entries, got 0"),
        ("epsilon_per_study: yes", "epsilon_per_study expects a number, got a yes or a no"),
    ],
)
def test_policy_with_a_mistake_is_refused_with_its_sentence(home: SiteFolder, line: str, sentence: str) -> None:
    (home.folder / "policy.yaml").write_text(f"{line}\n")
    with pytest.raises(SiteConfigError) as caught:
        home.policy  # noqa: B018 - it is read here
    assert sentence in str(caught.value)


def test_identity_that_others_can_read_is_refused(home: SiteFolder) -> None:
    (home.folder / "identity.key").chmod(0o644)
    with pytest.raises(KeyFileError, match="others can read this key"):
        home.load_identity()


# Joining ---------------------------------------------------------------------------------------------------


def test_join_request_is_signed_and_public(home: SiteFolder) -> None:
    request = home.make_join_request()
    assert request.verify(home.load_identity().public).name == "ash"
    secret = (home.folder / "identity.key").read_text().splitlines()[1]
    assert secret not in request.to_bytes().decode()


def test_admission_is_kept(home: SiteFolder) -> None:
    home.accept_admission(admission_for(home))
    assert home.load_admission().coordinator == COORDINATOR_KEY.public.text
    assert home.ca_path.read_text() == "-----BEGIN CERTIFICATE-----\n"


@pytest.mark.parametrize("change", [{"name": "birch"}, {"identity": key_number(9).public.text}])
def test_admission_of_another_site_is_refused(home: SiteFolder, change: dict[str, str]) -> None:
    with pytest.raises(SiteConfigError, match="ask the coordinator for your own"):
        home.accept_admission(admission_for(home, **change))
    assert not home.ca_path.exists()


def test_admission_not_signed_by_the_coordinator_it_names_is_refused(home: SiteFolder) -> None:
    with pytest.raises(SiteConfigError, match="the admission is damaged: a signature is not by the key"):
        home.accept_admission(admission_for(home, coordinator=key_number(9).public.text))
    with pytest.raises(SiteConfigError, match="has not joined a coordinator yet"):
        home.load_admission()


def test_admission_file_that_is_damaged_is_refused(home: SiteFolder) -> None:
    home.accept_admission(admission_for(home))
    (home.folder / "admission.json").write_bytes(b"{}\n")
    with pytest.raises(SiteConfigError, match=r"admission\.json: cannot be used: .*restore it from your backup"):
        home.load_admission()


# Peers -----------------------------------------------------------------------------------------------------


def test_peer_is_pinned_and_forgotten(home: SiteFolder) -> None:
    home.pin_peer("birch", key_number(3).public)
    home.pin_peer("birch", key_number(3).public)
    home.pin_peer("cedar", key_number(4).public)
    assert home.load_peers().pinned == {"birch": key_number(3).public, "cedar": key_number(4).public}
    home.forget_peer("birch")
    assert set(home.load_peers().pinned) == {"cedar"}


def test_peers_that_are_pinned_at_the_same_time_are_all_pinned(home: SiteFolder) -> None:
    """Two people at two terminals; the file is replaced whole, so the last one would undo the first."""
    keys = {f"site-{number}": key_number(number + 10).public for number in range(16)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: SiteFolder(home.folder).pin_peer(name, keys[name]), keys))
    assert home.load_peers().pinned == keys


def test_peer_with_another_key_is_refused_until_it_is_forgotten(home: SiteFolder) -> None:
    home.pin_peer("birch", key_number(3).public)
    with pytest.raises(SiteConfigError, match="remove the old one first: consilium-site peer forget birch"):
        home.pin_peer("birch", key_number(5).public)
    home.forget_peer("birch")
    home.pin_peer("birch", key_number(5).public)
    assert home.load_peers().pinned == {"birch": key_number(5).public}


def test_key_of_one_peer_is_not_pinned_for_two(home: SiteFolder) -> None:
    home.pin_peer("birch", key_number(3).public)
    with pytest.raises(SiteConfigError, match="this key is pinned for 'birch' already"):
        home.pin_peer("cedar", key_number(3).public)


def test_own_key_is_not_a_peers(home: SiteFolder) -> None:
    with pytest.raises(SiteConfigError, match="a site is not its own peer"):
        home.pin_peer("birch", home.load_identity().public)


def test_forgetting_a_stranger_names_who_is_pinned(home: SiteFolder) -> None:
    with pytest.raises(SiteConfigError, match="'birch' is not pinned; pinned peers: none"):
        home.forget_peer("birch")
    home.pin_peer("cedar", key_number(4).public)
    with pytest.raises(SiteConfigError, match="'birch' is not pinned; pinned peers: cedar"):
        home.forget_peer("birch")


def test_peers_file_that_is_damaged_is_refused(home: SiteFolder) -> None:
    (home.folder / "peers.json").write_text('{"pinned": {}}')
    with pytest.raises(SiteConfigError, match=r"peers\.json: cannot be used: .*written in another way"):
        home.load_peers()


# Data and files --------------------------------------------------------------------------------------------


def test_registration_is_kept_beside_the_others(home: SiteFolder) -> None:
    other = REGISTRATION.contract.model_copy(update={"name": "other"})
    home.add_registration(REGISTRATION)
    home.add_registration(REGISTRATION.model_copy(update={"contract": other, "public_patients": 70}))
    registry = home.load_registry()
    assert len(registry.registrations) == 2
    found = registry.find_exact(small_terms().data), registry.find_exact(other)
    assert [each and each.to_study_files().public_patients for each in found] == [60, 70]


def test_registration_under_a_contract_of_the_same_name_is_another_one(home: SiteFolder) -> None:
    home.add_registration(REGISTRATION)
    swapped = REGISTRATION.contract.model_copy(update={"patient": "visit"})
    assert home.load_registry().find_exact(swapped) is None
    assert home.load_registry().find_nearest(swapped) == REGISTRATION
