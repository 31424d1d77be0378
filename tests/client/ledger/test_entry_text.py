"""A line of the ledger in words: every kind has some, on one line, and what a person looks for is in it."""

from decimal import Decimal
from pathlib import Path

import pytest

from client.ledger.entry_text import describe_entry, is_about, list_named_studies
from privacy.ledger import Ledger
from privacy.ledger.entries import (
    BODIES,
    About,
    Approve,
    Body,
    Choice,
    Decide,
    Entry,
    Incident,
    Refuse,
    ReleaseCohort,
    Reserve,
    Review,
)
from privacy.ledger.signed_head import Countersigned
from tests.privacy.ledger_makers import (
    AUDITED,
    KEY,
    OTHER_KEY,
    STEP,
    TERMS,
    UNPROTECTED,
    clock,
    granted_ledger,
    plan,
    requirement,
    write_story,
)


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    """A ledger with an entry of every kind but ``recover``."""
    write_story(tmp_path / "ledger.sqlite")
    later = clock(start="2026-03-03T08:00:00+00:00")
    with Ledger.open(tmp_path / "ledger.sqlite", KEY, later) as ledger:
        ledger.approve(TERMS, "Ada")
        ledger.revoke(TERMS, "Ada", "ada")
        ledger.record_checkpoint(Countersigned.sign(OTHER_KEY, "coordinator", ledger.sign_head()), OTHER_KEY.public)
        ledger.change_key(OTHER_KEY)
    with Ledger.open(tmp_path / "ledger.sqlite", OTHER_KEY, clock()) as ledger:
        ledger.accept_clock("Ada")
        return list(ledger.read_entries())


EXPECTED = {
    "open": "the ledger of 'north' begins",
    "population": "registered 'breast-2026': about 160 patients, up to 1 of a patient's records in a step",
    "grant": "granted 'breast-2026' epsilon 3 at delta 0.001, order 8, by Ada (account ada)",
    "approve": "approved one launch of the terms 3333333333333333, by Ada",
    "revoke": "revoked what is unused of the approvals of the terms 3333333333333333, by Ada (account ada)",
    "clock": "the clock had been wrong: this entry is dated before the one before it, by Ada",
    "allow": "admitted 'first' to 'breast-2026': 5 x train (sampled-gaussian, noise multiplier 2,",
    "reserve": "paid round 1 of 'first': divergence 0.031215267, sampled-gaussian",
    "settle": "trained round 1 of 'first'",
    "evaluate": "paid the totals of round 1 of 'first': divergence 0.01, gaussian, noise multiplier 20",
    "return": "closed 'first' (finished): divergence 0.103645801 not used, left again",
    "release": "released the model 4444444444444444 of 'first' to sites",
    "refuse": "refused 'second' (policy-epsilon): the study asks for epsilon 9",
    "incident": "incident in round 2 of 'first' (void-round): round 2 is void",
    "checkpoint": "'coordinator' has seen this ledger up to entry 14",
    "key": f"signed from here on with the key {OTHER_KEY.public.typed}",
}


def test_every_kind_has_words(entries: list[Entry]) -> None:
    said: dict[str, str] = {}
    for entry in entries:
        said.setdefault(entry.kind, describe_entry(entry.body))
    for kind, words in EXPECTED.items():
        assert words in said[kind]
    # tests/client/commands/test_ledger.py has a recovery, and the others are below
    assert set(BODIES) - set(said) == {"audit", "cohort", "recover", "require", "decide"}


def test_what_a_policy_asked_and_people_decided_has_words() -> None:
    asked = requirement("first", persons=2, release=True)
    assert describe_entry(asked) == (
        f"judged the launch 7777777777777777 of 'first', ordered by 'grace' ({OTHER_KEY.public.typed}): 2 people must "
        "agree; its model waits for a person too; policy 8888888888888888"
    )
    assert "the policy's rule 'quick' admits it" in describe_entry(requirement("first", persons=0, rule="quick"))
    said = Decide(
        study="first",
        launch=asked.launch,
        terms=TERMS,
        about=About.ADMISSION,
        choice=Choice.REFUSE,
        reviewed=Review(site="south", terms=TERMS),
        why="not now",
        by="Ada",
    )
    assert describe_entry(said) == (
        "refused the launch of 'first', by Ada, relying on the review of 'south': not now"
    )
    released = said.model_copy(update={"about": About.RELEASE, "choice": Choice.APPROVE, "model": "4" * 64})
    assert "approved the release of the model 4444444444444444 of 'first', by Ada" in describe_entry(released)


def test_result_of_an_audit_has_words() -> None:
    assert describe_entry(AUDITED) == "audited 'audited' with 400 canaries: epsilon at least 0.25 of 3"


def test_cohort_of_statistics_has_words() -> None:
    body = ReleaseCohort(study="first", cohort=("east", "north", "south"), minimum=3)
    assert describe_entry(body) == "released its share of the statistics of 'first' over east, north, south"


def test_charge_without_a_bound_is_called_so() -> None:
    body = Reserve(study="x", round=1, event=UNPROTECTED, curve=None, charge=None)
    assert describe_entry(body) == "paid round 1 of 'x': no bound, unprotected"


def test_words_stay_on_one_line_and_move_no_cursor() -> None:
    """Sentences hold names that others chose; a terminal must not obey them."""
    body = Incident(study="x", round=None, code="odd", sentence="first\n  second \u202ethird")
    assert describe_entry(body) == "incident in 'x' (odd): first second ?third"


def test_study_is_found_in_its_entries_and_its_approval(entries: list[Entry]) -> None:
    named = list_named_studies(entries)
    assert named == {"first": TERMS, "second": ""}
    about: list[Body] = [entry.body for entry in entries if is_about(entry.body, "first", named["first"])]
    assert [body.kind for body in about] == [
        "allow", "reserve", "settle", "evaluate", "reserve", "incident", "release", "return", "approve", "revoke",
    ]  # fmt: skip
    (second,) = [entry.body for entry in entries if is_about(entry.body, "second", named["second"])]
    assert isinstance(second, Refuse)


def test_approval_of_no_terms_is_about_no_study() -> None:
    assert not is_about(Approve(terms=TERMS, runs=1, by="Ada"), "second", "")


def test_amounts_of_a_grant_may_be_added(tmp_path: Path) -> None:
    """What was set aside is what the rounds and the return come to, to the last digit that is shown."""
    with granted_ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.allow("first", "breast-2026", plan(), TERMS)
        ledger.reserve("first", 1, STEP)
        ledger.give_back("first")
        amounts = {}
        for entry in ledger.read_entries():
            if entry.kind in ("allow", "reserve", "return"):
                words = describe_entry(entry.body)
                amounts[entry.kind] = Decimal(words.split("divergence ")[1].split()[0].rstrip(","))
    assert amounts["allow"] == amounts["reserve"] + amounts["return"]
