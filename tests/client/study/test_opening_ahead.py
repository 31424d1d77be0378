"""A large aggregate, decrypted by the processes of all cores while it comes in pieces: the plain sum, or nothing."""

import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest

from client.study.opening_ahead import OpeningAhead
from privacy.errors import TrainingError
from privacy.growing_file import GrowingFile
from privacy.protocol.envelope import note_blob
from privacy.secure_aggregation.layout import BLOCK, Layout
from privacy.secure_aggregation.opening import Opening
from privacy.secure_aggregation.process_pool import WORTH_IT, end_idle_workers
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.schemes.bfv_parameters import SLOTS
from tests.privacy.secure_aggregation.conftest import CONTEXT, Federation, named

LAYOUT = Layout(WORTH_IT * BLOCK * SLOTS, 2, 24, 3)


@pytest.fixture(scope="module")
def cohort() -> Federation:
    return Federation(LAYOUT, named(3), StudyKey.generate(), 2)


@pytest.fixture(scope="module")
def honest(cohort: Federation) -> bytes:
    return cohort.honest()


@pytest.fixture
def ahead(cohort: Federation, honest: bytes, tmp_path: Path) -> Iterator[tuple[OpeningAhead, GrowingFile, Opening]]:
    opening = Opening(cohort.layout, cohort=cohort.sites, context=CONTEXT, study_key=cohort.study_key)
    file = GrowingFile(tmp_path)
    ahead = OpeningAhead(opening, "small-00000000", note_blob(honest), file)
    yield ahead, file, opening
    file.end(whole=False)
    ahead.discard()
    end_idle_workers()


Ahead = tuple[OpeningAhead, GrowingFile, Opening]


def take(ahead: OpeningAhead, cohort: Federation) -> Opening | None:
    return ahead.take(cohort.layout, tuple(cohort.sites), CONTEXT, cohort.study_key)


def require_nothing_left(opening: Opening) -> None:
    assert not opening._values.any()
    assert not any(thread.name == "opening" for thread in threading.enumerate())
    assert multiprocessing.active_children() == []


def test_aggregate_that_comes_in_pieces_is_opened_to_the_plain_sum(
    ahead: Ahead, cohort: Federation, honest: bytes
) -> None:
    opening, file, _ = ahead
    random, start = Random(0), 0
    while start < len(honest):
        size = random.randrange(1, 1 << 20)
        file.write(honest[start : start + size])
        start += size
    file.end(whole=True)
    taken = take(opening, cohort)
    assert taken is not None
    opened = taken.accept()
    assert np.array_equal(opened.values, sum(cohort.update(site).astype(np.int64) for site in cohort.sites))
    assert opened.counts == tuple(map(sum, zip(*map(cohort.counts, cohort.sites), strict=True)))
    opening.discard()
    assert opened.values.any(), "what was taken is the taker's"


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_aggregate_that_is_not_the_named_one_is_overwritten_and_the_processes_end(
    ahead: Ahead, honest: bytes, share: float
) -> None:
    opening, file, decrypted = ahead
    file.write(honest[: int(share * len(honest))])
    file.end(whole=False)
    opening._thread.join(60)
    require_nothing_left(decrypted)


def test_aggregate_that_nobody_opens_is_overwritten_and_the_processes_end(
    ahead: Ahead, cohort: Federation, honest: bytes
) -> None:
    opening, file, decrypted = ahead
    file.write(honest)
    file.end(whole=True)
    opening.discard()
    require_nothing_left(decrypted)
    assert take(opening, cohort) is None


def test_aggregate_of_other_inputs_is_not_given_out(ahead: Ahead, cohort: Federation) -> None:
    opening, _, _ = ahead
    assert opening.take(cohort.layout, tuple(cohort.sites), CONTEXT + b".", cohort.study_key) is None
    assert opening.take(cohort.layout, tuple(cohort.sites), CONTEXT, StudyKey.generate()) is None


def test_process_that_is_killed_meanwhile_is_said_where_the_aggregate_is_opened(
    ahead: Ahead, cohort: Federation, honest: bytes
) -> None:
    """The aggregate is fetched to its end all the same."""
    opening, file, decrypted = ahead
    half = len(honest) // 2
    file.write(honest[:half])
    while not decrypted._count:  # the first block is there: all processes run
        opening._thread.join(0.01)
    for process in multiprocessing.active_children():
        process.kill()
        process.join()
    file.write(honest[half:])
    file.end(whole=True)
    with pytest.raises(TrainingError, match="died"):
        take(opening, cohort)
