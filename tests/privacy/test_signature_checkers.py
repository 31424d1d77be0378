"""Signatures that are verified by other processes: the answers are those of this one."""

import os
import signal
from collections.abc import Iterator

import pytest

from privacy.errors import WireError
from privacy.keys import PublicKey, SignedBytes, SigningKey
from privacy.signature_checkers import Checkers

KEY = SigningKey.generate()
MESSAGE = b"label\0message"
TRUE = SignedBytes(KEY.public, KEY.sign(MESSAGE), MESSAGE)
FALSE = [
    TRUE._replace(message=MESSAGE + b"."),
    TRUE._replace(message=b""),
    TRUE._replace(signature=bytes(64)),
    TRUE._replace(signature=TRUE.signature[:-1]),
    TRUE._replace(signature=b""),
    TRUE._replace(key=SigningKey.generate().public),
    TRUE._replace(key=PublicKey(bytes(32))),
    TRUE._replace(key=PublicKey(KEY.public.raw[:-1])),
    TRUE._replace(key=PublicKey(b"")),
]


@pytest.fixture(scope="module")
def checkers() -> Iterator[Checkers]:
    with Checkers(2) as checkers:
        yield checkers


@pytest.mark.parametrize("false", FALSE)
def test_signature_that_is_wrong_is_found_among_right_ones(false: SignedBytes, checkers: Checkers) -> None:
    assert checkers.submit([TRUE, false, TRUE]).result() == bytes([1, 0, 1])
    with pytest.raises((WireError, ValueError)):
        false.verify()


def test_batches_in_flight_get_each_its_own_answer(checkers: Checkers) -> None:
    batches = [[TRUE if (at >> bit) & 1 else FALSE[0] for bit in range(6)] for at in range(64)]
    answers = [checkers.submit(batch) for batch in batches]
    for at, answer in enumerate(answers):
        assert answer.result() == bytes((at >> bit) & 1 for bit in range(6))


def test_message_longer_than_a_pipe_holds_is_verified(checkers: Checkers) -> None:
    message = b"x" * (1 << 20)
    assert checkers.submit([SignedBytes(KEY.public, KEY.sign(message), message)]).result() == b"\1"


def test_nothing_is_said_where_no_process_is_left() -> None:
    with Checkers(1) as checkers:
        assert checkers.submit([]).result() == b""
        os.kill(checkers.pids[0], signal.SIGKILL)
        assert checkers.submit([TRUE]).result() == b""
    with Checkers(0) as none:
        assert none.submit([TRUE]).result() == b""
