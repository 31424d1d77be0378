"""Refused calls in the audit log: named at once, counted after it, and few whatever anybody does."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from privacy.client_certificate import Role
from server.control.caller import Caller
from server.control.refused_calls import COUNTED_S, RefusedCalls
from server.federation.audit_log import AuditLog

OTTO, ANNA = Caller(Role.AUDITOR, "otto"), Caller(Role.OPERATOR, "anna")
DIGESTS = ["a" * 64, "b" * 64, "c" * 64]


class Clock:
    """A clock that tests set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "audit.sqlite")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def refused(log: AuditLog, clock: Clock) -> Iterator[RefusedCalls]:
    refused = RefusedCalls(log, clock)
    yield refused
    refused.close()


def read(log: AuditLog) -> list[tuple[str, str, str, str]]:
    return [(each.name, each.call, each.request[0], each.outcome) for each in log.read()]


def test_first_refusal_is_an_entry_at_once_and_the_rest_of_the_hour_is_one_more(
    log: AuditLog, clock: Clock, refused: RefusedCalls
) -> None:
    for digest in DIGESTS:
        refused.record(OTTO, "Invite", digest, f"no {digest[0]}")
    refused.record(ANNA, "Invite", DIGESTS[0], "no order")
    expected = [("otto", "Invite", "a", "refused: no a"), ("anna", "Invite", "a", "refused: no order")]
    assert read(log) == expected
    clock.now += COUNTED_S
    refused.record(OTTO, "Remove", DIGESTS[0], "no")
    expected.append(("otto", "Invite", "c", "refused 2 more times within an hour; the last: no c"))
    assert read(log) == [*expected, ("otto", "Remove", "a", "refused: no")]
    refused.record(OTTO, "Invite", DIGESTS[1], "again")
    assert read(log)[-1] == ("otto", "Invite", "b", "refused: again")


def test_counts_are_written_when_the_coordinator_stops(log: AuditLog, refused: RefusedCalls) -> None:
    for _ in range(4):
        refused.record(OTTO, "Invite", DIGESTS[0], "no")
    refused.close()
    assert [each[3] for each in read(log)] == [
        "refused: no",
        "refused 3 more times within an hour; the last: no",
    ]
    refused.close()
    assert len(read(log)) == 2


def test_member_who_calls_without_end_adds_two_entries_an_hour(
    log: AuditLog, clock: Clock, refused: RefusedCalls
) -> None:
    """Attack: somebody fills the coordinator's disk with calls that are refused."""
    hours, calls = 10, 3600
    for _ in range(hours * calls):
        refused.record(OTTO, "Invite", DIGESTS[0], "x" * 10_000)
        clock.now += COUNTED_S / calls
    refused.close()
    entries = list(log.read())
    assert len(entries) == 2 * hours
    assert max(len(each.to_bytes()) for each in entries) < 1200
    assert sum(int(each.outcome.split()[1]) for each in entries[1::2]) == hours * (calls - 1)


def test_log_that_cannot_be_written_lets_the_refusal_stand(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "audit.sqlite").mkdir()
    refused = RefusedCalls(AuditLog(tmp_path / "audit.sqlite"), clock)
    with caplog.at_level(logging.ERROR):
        refused.record(OTTO, "Invite", DIGESTS[0], "no")
    assert "a refused call of 'otto' is not in the audit log" in caplog.text
