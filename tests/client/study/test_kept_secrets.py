"""What outlives a restart of a study's secrets: encrypted to the site, one attempt at most, and only while needed."""

import os
from pathlib import Path

import pytest

from client.study.history import AppliedRound
from client.study.kept_secrets import (
    ATTEMPT_FILE,
    KEYS_FILE,
    KeptAttempt,
    KeptSecrets,
    find_epochs_to_keep,
    forget_kept_secrets,
)
from privacy.errors import StorageError
from privacy.keys import SigningKey
from privacy.protocol.envelope import read_body
from privacy.protocol.messages import Sealed
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.study.launch import Launch
from tests.docs.wire_example import example_sealed
from tests.privacy.launch_makers import SITE_KEYS, golden_terms, launch_of

LAUNCH = launch_of(golden_terms())
ROSTER = ("ash", "birch", "cedar")


def kept_in(folder: Path, launch: Launch = LAUNCH, identity: SigningKey = SITE_KEYS["ash"]) -> KeptSecrets:
    return KeptSecrets(folder, launch, identity)


def attempt(number: int, seed: bytes) -> KeptAttempt:
    content = read_body(example_sealed()).content
    assert isinstance(content, Sealed)
    return KeptAttempt(round=1, attempt=number, epoch=1, cohort=ROSTER, own_seed=seed.hex(), header=content.header)


def test_attempt_is_read_back_after_a_restart(tmp_path: Path) -> None:
    kept_in(tmp_path).keep_attempt(attempt(2, b"s" * 32))
    assert kept_in(tmp_path).load_attempt() == attempt(2, b"s" * 32)


def test_nothing_kept_is_nothing(tmp_path: Path) -> None:
    assert kept_in(tmp_path).load_attempt() is None
    assert kept_in(tmp_path).load_keys() == {}


def test_next_attempt_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    kept = kept_in(tmp_path)
    for number in (1, 2, 3):
        kept.keep_attempt(attempt(number, os.urandom(32)))
    assert os.listdir(tmp_path) == [ATTEMPT_FILE]
    found = kept.load_attempt()
    assert found is not None
    assert found.attempt == 3


def test_file_holds_no_secret_in_clear_and_is_its_owners_alone(tmp_path: Path) -> None:
    seed, key = os.urandom(32), StudyKey.generate()
    kept = kept_in(tmp_path)
    kept.keep_attempt(attempt(1, seed))
    kept.keep_keys({1: key})
    for name in (ATTEMPT_FILE, KEYS_FILE):
        data = (tmp_path / name).read_bytes()
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        assert not any(secret in data for secret in (seed, seed.hex().encode(), key.to_bytes(), b"cohort", b"keys"))


def test_same_attempt_is_encrypted_differently_each_time(tmp_path: Path) -> None:
    kept = kept_in(tmp_path)
    kept.keep_attempt(attempt(1, bytes(32)))
    first = (tmp_path / ATTEMPT_FILE).read_bytes()
    kept.keep_attempt(attempt(1, bytes(32)))
    assert (tmp_path / ATTEMPT_FILE).read_bytes() != first


@pytest.mark.parametrize("other", ["identity", "launch", "purpose", "altered", "cut short", "empty"])
def test_file_opens_for_its_site_study_and_purpose_alone_and_unaltered(tmp_path: Path, other: str) -> None:
    kept, launch, identity, path = kept_in(tmp_path), LAUNCH, SITE_KEYS["ash"], tmp_path / ATTEMPT_FILE
    kept.keep_attempt(attempt(1, os.urandom(32)))
    kept.keep_keys({1: StudyKey.generate()})
    match other:
        case "identity":
            identity = SITE_KEYS["birch"]
        case "launch":
            launch = launch_of(golden_terms(), federation="glade")
        case "purpose":
            path.write_bytes((tmp_path / KEYS_FILE).read_bytes())
        case "altered":
            path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
        case "cut short":
            path.write_bytes(path.read_bytes()[:20])
        case "empty":
            path.write_bytes(b"")
    assert kept_in(tmp_path, launch, identity).load_attempt() is None
    assert (kept_in(tmp_path, launch, identity).load_keys() == {}) == (other in ("identity", "launch"))


def test_keys_are_read_back_and_those_no_longer_needed_are_gone(tmp_path: Path) -> None:
    keys = {epoch: StudyKey.generate() for epoch in (1, 2, 3)}
    kept_in(tmp_path).keep_keys(keys)
    assert {epoch: key.to_bytes() for epoch, key in kept_in(tmp_path).load_keys().items()} == {
        epoch: key.to_bytes() for epoch, key in keys.items()
    }
    kept_in(tmp_path).keep_keys({3: keys[3]})
    assert set(kept_in(tmp_path).load_keys()) == {3}
    kept_in(tmp_path).keep_keys({})
    assert os.listdir(tmp_path) == []


def test_what_a_power_cut_left_unfinished_is_removed(tmp_path: Path) -> None:
    for name in (ATTEMPT_FILE, KEYS_FILE):
        (tmp_path / f".{name}.x7y2").write_bytes(b"half")
    kept_in(tmp_path)
    assert os.listdir(tmp_path) == []


def test_forgotten_secrets_are_gone(tmp_path: Path) -> None:
    kept = kept_in(tmp_path)
    kept.keep_attempt(attempt(1, bytes(32)))
    kept.keep_keys({1: StudyKey.generate()})
    (tmp_path / "state.json").touch()
    forget_kept_secrets(tmp_path)
    forget_kept_secrets(tmp_path)
    assert os.listdir(tmp_path) == ["state.json"]


def test_disk_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    kept = kept_in(tmp_path / "gone")
    with pytest.raises(StorageError):
        kept.keep_attempt(attempt(1, bytes(32)))


@pytest.mark.parametrize(
    ("cohorts", "epochs"),
    [
        ([], set()),
        ([ROSTER], set()),
        ([("ash", "birch")], {1}),
        ([("ash", "birch"), ROSTER], set()),
        ([ROSTER, ("ash", "birch")], {2}),
        ([("ash", "birch"), ("ash", "cedar")], {1, 2}),
        ([("ash", "birch"), ROSTER, ("birch", "cedar"), ("ash", "cedar")], {3, 4}),
    ],
)
def test_keys_are_kept_for_whom_missed_a_round_until_the_whole_roster_has_made_one(
    cohorts: list[tuple[str, ...]], epochs: set[int]
) -> None:
    """Round i is of epoch i. Whoever sealed in a round has applied all before it, and keeps its own key itself."""
    applied = [
        AppliedRound(round=number, epoch=number, sites=sites, patients=(60,) * len(sites))
        for number, sites in enumerate(cohorts, 1)
    ]
    assert find_epochs_to_keep(applied, ROSTER) == epochs
