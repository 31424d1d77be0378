"""Who is in which population: overlap is counted, nobody is forgotten, and a register that was touched is refused."""

import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.data.objections import compute_patient_digest
from client.data.patient_register import PatientRegister
from privacy.errors import RefusedError, SiteConfigError

SOME = ("p1", "p2", "p3")
OTHERS = ("q1", "q2")
DAY = "2026-03-31"


@pytest.fixture
def register(tmp_path: Path) -> PatientRegister:
    return PatientRegister.create(tmp_path / "patients")


def digests(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "patients").glob("*-*.digests"))


def test_digest_is_a_keyed_hash_of_the_folded_identifier() -> None:
    expected = hmac.new(b"k" * 32, b"consilium patient v1\0" + "å1".encode(), hashlib.sha256).digest()
    assert compute_patient_digest(b"k" * 32, "Å1") == expected
    assert compute_patient_digest(b"k" * 32, "  A\u030a1\t") == expected  # the same letter, written in two pieces
    assert compute_patient_digest(b"l" * 32, "Å1") != expected


def test_register_holds_no_identifier(register: PatientRegister, tmp_path: Path) -> None:
    register.admit("heart", ["patient-anna-7"], {})
    register.add_objections(["patient-anna-7"], DAY)
    for path in (tmp_path / "patients").iterdir():
        assert b"anna" not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0, path.name


def test_sites_with_the_same_patients_have_other_commitments(register: PatientRegister, tmp_path: Path) -> None:
    other = PatientRegister.create(tmp_path / "other")
    assert register.admit("heart", SOME, {}).commitment != other.admit("heart", SOME, {}).commitment


# Populations -----------------------------------------------------------------------------------------------


def test_overlap_with_another_population_is_refused_with_the_number(
    register: PatientRegister, tmp_path: Path
) -> None:
    known = {"heart": register.admit("heart", SOME, {}).commitment}
    with pytest.raises(RefusedError, match="2 of these 4 patients are in the population 'heart'") as caught:
        register.admit("lung", [*OTHERS, "p2", "p3"], known)
    assert caught.value.code == "same-patients"
    assert "register the files under it (--population heart)" in str(caught.value)
    assert len(digests(tmp_path)) == 1


def test_population_grows_and_forgets_nobody(register: PatientRegister) -> None:
    """Who has left the file was paid for here, so another population may not have them."""
    known = {"heart": register.admit("heart", SOME, {}).commitment}
    known = {"heart": register.admit("heart", ["p4"], known).commitment}
    assert register.count_patients([*SOME, "p4", "q1"], known) == {"heart": 4}
    with pytest.raises(RefusedError, match="1 of these 1 patients"):
        register.admit("lung", ["p1"], known)


def test_population_of_the_same_patients_has_the_same_commitment(register: PatientRegister) -> None:
    first = register.admit("heart", SOME, {}).commitment
    assert register.admit("heart", reversed(SOME), {"heart": first}).commitment == first


def test_older_digests_are_removed_of_that_population_only(register: PatientRegister, tmp_path: Path) -> None:
    known = {name: register.admit(name, who, {}).commitment for name, who in (("heart", SOME), ("heart-2", OTHERS))}
    newer = register.admit("heart", ["p4"], known).commitment
    assert len(digests(tmp_path)) == 3
    register.forget_older("heart", newer)
    assert len(digests(tmp_path)) == 2
    assert register.count_patients([*SOME, *OTHERS], known | {"heart": newer}) == {"heart": 3, "heart-2": 2}


def one_file(folder: Path) -> Path:
    (name,) = digests(folder)
    return folder / "patients" / name


@pytest.mark.parametrize("damage", ["cut", "cut by whole digests", "a bit", "lost", "another population's"])
def test_register_that_was_touched_is_refused(register: PatientRegister, tmp_path: Path, damage: str) -> None:
    known = {"heart": register.admit("heart", SOME, {}).commitment}
    path = one_file(tmp_path)
    data = path.read_bytes()
    changed = {
        "cut": data[:-1],
        "cut by whole digests": data[:-32],
        "a bit": bytes([data[0] ^ 1]) + data[1:],
        "another population's": compute_patient_digest(b"k" * 32, "q1"),
    }
    if damage == "lost":
        path.unlink()
    else:
        path.write_bytes(changed[damage])
    for ask in (
        lambda: register.admit("heart", OTHERS, known),
        lambda: register.admit("lung", OTHERS, known),
        lambda: register.count_patients(OTHERS, known),
    ):
        with pytest.raises(
            SiteConfigError, match="not those the ledger has committed to; restore the folder 'patients'"
        ):
            ask()


def test_register_with_another_secret_is_refused(register: PatientRegister, tmp_path: Path) -> None:
    known = {"heart": register.admit("heart", SOME, {}).commitment}
    register.add_objections(["p1"], DAY)
    (tmp_path / "patients" / "secret").write_bytes(b"s" * 32)
    changed = PatientRegister(tmp_path / "patients")
    with pytest.raises(SiteConfigError, match="not those the ledger has committed to"):
        changed.admit("lung", OTHERS, known)
    with pytest.raises(SiteConfigError, match="the file is lost, cut or altered"):
        changed.load_objections()


@pytest.mark.parametrize("damage", ["lost", "readable by others"])
def test_register_without_its_secret_is_refused(register: PatientRegister, tmp_path: Path, damage: str) -> None:
    secret = tmp_path / "patients" / "secret"
    if damage == "lost":
        secret.unlink()
    else:
        secret.chmod(0o644)
    with pytest.raises(SiteConfigError, match="without it no patient is recognised: restore it from your backup"):
        PatientRegister(tmp_path / "patients")


# Numbers that several people have ---------------------------------------------------------------------------


@pytest.mark.parametrize("written", [["p1", "7"], ["P1"], ["p\u200b1"], ["007"], ["7.0"]])
def test_patients_written_like_those_of_another_population_are_refused(
    register: PatientRegister, written: list[str]
) -> None:
    known = {"heart": register.admit("heart", ["p1", "7"], {}).commitment}
    with pytest.raises(
        RefusedError, match="in the population 'heart', or are written like patients of it"
    ) as caught:
        register.admit("lung", [*written, "q1"], known)
    assert caught.value.code == "same-patients"
    assert f"{len(written)} of these {len(written) + 1} patients" in str(caught.value)
    assert "--different-from heart" in str(caught.value)


def test_patients_said_to_be_different_are_counted_and_not_asked_about_again(register: PatientRegister) -> None:
    known = {"heart": register.admit("heart", ["1", "2", "3"], {}).commitment}
    admitted = register.admit("lung", ["01", "02", "9"], known, different_from=["heart"])
    assert admitted.said_different == {"heart": 2}
    known["lung"] = admitted.commitment
    assert register.admit("lung", ["1", "2", "9"], known) == admitted
    assert register.admit("heart", ["1", "2", "3"], known).said_different == {"lung": 2}
    with pytest.raises(RefusedError, match="1 of these 3 patients are in the population 'heart'"):
        register.admit("lung", ["1", "2", "3"], known)


def test_patients_said_to_be_different_from_one_population_are_compared_with_the_others(
    register: PatientRegister,
) -> None:
    known = {"heart": register.admit("heart", ["1"], {}).commitment}
    known["lung"] = register.admit("lung", ["2"], known).commitment
    with pytest.raises(RefusedError, match="in the population 'lung'"):
        register.admit("skin", ["1", "2"], known, different_from=["heart"])


# Objections ------------------------------------------------------------------------------------------------


def test_objection_reaches_every_spelling(register: PatientRegister) -> None:
    register.add_objections(["\ufeff00012"], DAY)
    held = register.load_objections()
    assert all(held.includes(each) for each in ("12", "12.0", "00012", " 012", "\uff11\uff12"))
    assert not held.includes("120")


def test_objection_keeps_its_day_and_is_taken_back(register: PatientRegister) -> None:
    register.add_objections(["p1", "p2"], DAY)
    register.add_objections(["p1", "p3"], "2026-04-01")
    held = register.load_objections()
    assert [held.find_date(each) for each in (*SOME, "p4")] == [DAY, DAY, "2026-04-01", None]
    assert register.take_back_objections(["P1", "p4"]) == 2
    assert not register.load_objections().includes("p1")
    assert register.load_objections().includes("p2")


def test_study_admitted_with_an_objection_keeps_it_when_it_is_taken_back(register: PatientRegister) -> None:
    register.add_objections(["p1"], DAY)
    texts = register.load_objections().texts
    register.take_back_objections(["p1"])
    assert register.load_objections().select(texts).includes("p1")


def test_objecting_patients_are_counted_by_population(register: PatientRegister) -> None:
    known = {"heart": register.admit("heart", SOME, {}).commitment}
    known["lung"] = register.admit("lung", OTHERS, known).commitment
    register.add_objections(["p1", "p3", "stranger"], DAY)
    assert register.count_objecting(known) == {"heart": 2, "lung": 0}
    assert register.find_unknown(["p1", "q1", "x"], known) == ["x"]


def test_objections_add_up(register: PatientRegister) -> None:
    assert not register.load_objections().includes("p1")
    assert register.add_objections(["p1"], DAY) == 1
    assert register.add_objections(["p1", " p2 "], DAY) == 2
    held = register.load_objections()
    assert [held.includes(name) for name in (*SOME, " P1")] == [True, True, False, True]


def test_study_that_was_admitted_keeps_its_objections(register: PatientRegister) -> None:
    register.add_objections(["p1"], DAY)
    admitted_with = register.load_objections().texts
    register.add_objections(["p2"], DAY)
    then = register.load_objections().select(admitted_with)
    assert (then.includes("p1"), then.includes("p2")) == (True, False)


@pytest.mark.parametrize("damage", ["cut", "cut by a whole digest", "emptied", "lost"])
def test_objections_that_were_touched_are_refused(register: PatientRegister, tmp_path: Path, damage: str) -> None:
    """Nobody who has objected is trained on because a file was lost."""
    register.add_objections(SOME, DAY)
    path = tmp_path / "patients" / "objections.digests"
    data = path.read_bytes()
    if damage == "lost":
        path.unlink()
    else:
        path.write_bytes({"cut": data[:-1], "cut by a whole digest": data[32:], "emptied": b""}[damage])
    for ask in (register.load_objections, lambda: register.add_objections(["p4"], DAY)):
        with pytest.raises(
            SiteConfigError, match="the file is lost, cut or altered; restore the folder 'patients'"
        ):
            ask()


@given(st.sets(st.text(max_size=8), max_size=8))
def test_objections_hold_exactly_who_objected(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    register = PatientRegister.create(tmp_path_factory.mktemp("register") / "patients")
    register.add_objections(names, DAY)
    assert all(register.load_objections().includes(name) for name in names)
    assert not register.load_objections().includes("nobody of this name")
