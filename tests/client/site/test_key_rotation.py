"""A site's identity is changed: whatever is interrupted, the same command comes to the same end."""

from pathlib import Path

import pytest

from client.site.folder import SiteFolder
from client.site.key_rotation import Rotation
from privacy.errors import LedgerError, SiteConfigError
from privacy.keys import SigningKey
from privacy.ledger import verify_file
from privacy.ledger.entries import Admits
from tests.client.commands.terminal import grant, with_data
from tests.client.site.test_folder import admission_for

STEPS = 5


@pytest.fixture
def home(folder: Path) -> SiteFolder:
    """A site that has joined, with a budget."""
    made = SiteFolder(with_data(folder))
    grant(folder)
    made.accept_admission(admission_for(made))
    return made


def walk(rotation: Rotation, steps: int = STEPS) -> None:
    for step in rotation.steps[:steps]:
        step()


def test_steps_are_walked_in_their_order(home: SiteFolder) -> None:
    assert len(Rotation(home).steps) == STEPS


def test_ledger_goes_on_under_the_new_key(home: SiteFolder) -> None:
    old = home.load_identity().public
    walk(Rotation(home))
    new = home.load_identity().public
    assert new != old
    state = verify_file(home.ledger_path, old)  # whoever knows the old key finds the new one in the ledger
    assert state.keys == [old, new]
    with home.open_ledger() as ledger:
        ledger.approve("3" * 64, "Ada")
        assert ledger.read_state().find_account("small").budget.epsilon_left == 6
    assert home.identity_path.stat().st_mode & 0o777 == 0o600


def test_admission_of_the_old_key_is_forgotten(home: SiteFolder) -> None:
    walk(Rotation(home))
    with pytest.raises(SiteConfigError, match="the site has not joined a coordinator yet"):
        home.load_admission()
    home.accept_admission(admission_for(home))
    assert home.load_admission().identity == home.load_identity().public.text


def test_node_key_and_certificate_lay_beside_the_old_key_and_are_new_too(home: SiteFolder) -> None:
    before = home.node_key_path.read_bytes()
    assert home.credentials.path.exists()
    walk(Rotation(home))
    assert home.node_key_path.read_bytes() != before
    assert home.node_key_path.stat().st_mode & 0o777 == 0o600
    assert not home.credentials.path.exists()


@pytest.mark.parametrize("done", range(STEPS))
def test_change_that_was_interrupted_is_finished(home: SiteFolder, done: int) -> None:
    """One new key, one entry, whatever was done before."""
    walk(Rotation(home), done)
    begun = home.next_identity_path
    chosen = SigningKey.load(begun).public if begun.exists() else None
    walk(Rotation(home))
    assert chosen in (None, home.load_identity().public)
    assert not Rotation(home).interrupted
    assert len(verify_file(home.ledger_path).keys) == 2
    with home.open_ledger() as ledger:
        assert [entry.kind for entry in ledger.read_entries()].count("key") == 1


@pytest.mark.parametrize("done", range(1, STEPS))
def test_site_does_nothing_else_while_its_key_is_half_changed(home: SiteFolder, done: int) -> None:
    walk(Rotation(home), done)
    for ask in (home.load_identity, home.open_ledger, home.make_join_request):
        with pytest.raises(SiteConfigError, match="was interrupted; finish it: consilium-site key change"):
            ask()


def test_key_that_was_half_written_is_made_anew(home: SiteFolder) -> None:
    """A power cut while the new key is written: it was not used for anything yet."""
    draft = home.next_identity_path.with_name("identity.key.next.draft")
    draft.write_bytes(b"-----BEGIN PRIV")
    walk(Rotation(home))
    assert not draft.exists()
    with home.open_ledger():
        pass


def test_key_of_a_ledger_that_is_not_believed_is_not_changed(home: SiteFolder) -> None:
    old = home.load_identity().public
    home.ledger_path.write_bytes(b"not a ledger")
    with pytest.raises(LedgerError, match="not a ledger"):
        walk(Rotation(home))
    assert SigningKey.load(home.identity_path).public == old


def test_process_that_holds_the_old_key_writes_nothing_more(home: SiteFolder) -> None:
    """A site that was not stopped: its next entry would not be believed, so there is none."""
    with home.open_ledger() as running:
        walk(Rotation(home))
        with pytest.raises(LedgerError, match="signed by the key"):
            running.approve("3" * 64, "Ada")
    with home.open_ledger() as ledger:
        assert ledger.read_state().count_approved_runs("3" * 64, Admits.LAUNCH) == 0
