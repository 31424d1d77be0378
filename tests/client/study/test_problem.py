"""What leaves a site of an error: public facts, and never where something lies."""

import errno
from collections.abc import Iterator

import pytest

from client.study import key_epochs, problem, request_handler
from client.study.problem import describe_error
from privacy import errors
from privacy.errors import (
    BudgetError,
    DataError,
    DataUnavailableError,
    Error,
    RefusedError,
    SealingError,
    StorageError,
    TermsError,
    WireError,
)
from privacy.refusal_codes import RefusalCode

PATH = "/srv/Onkologie-Huber/ledger.sqlite"
RELATIVE = "Onkologie-Huber/ledger.sqlite"


def kinds(root: type[Error] = Error) -> Iterator[type[Error]]:
    """Every kind of error there is, those outside ``privacy/errors.py`` too."""
    yield root
    for kind in root.__subclasses__():
        yield from kinds(kind)


def raised(kind: type[Error], sentence: str) -> Error:
    error = kind.__new__(kind, sentence)  # whatever else its constructor asks for
    if isinstance(error, RefusedError):
        error.code = RefusalCode.POLICY
    if isinstance(error, StorageError):
        error.what = "disk"
    return error


@pytest.mark.parametrize("where", [PATH, RELATIVE, r"C:\Onkologie-Huber\ledger.sqlite"])
def test_no_kind_of_error_takes_a_path_out_of_the_site(where: str) -> None:
    found = {kind.__name__ for kind in kinds()}
    assert {"EpochLostError", "LedgerError", "StorageError", "SiteConfigError", "DataUnavailableError"} <= found
    for kind in kinds():
        said = describe_error(raised(kind, f"{where}: it cannot be used"))
        assert "Huber" not in said.sentence, kind
        assert "/" not in said.sentence, kind


@pytest.mark.parametrize("kind", [RefusedError, BudgetError, WireError, TermsError, key_epochs.EpochLostError])
def test_errors_over_public_facts_leave_in_their_own_words(kind: type[Error]) -> None:
    sentence = "the study asks for epsilon 9, this site allows 3 a study"
    assert describe_error(raised(kind, sentence)).sentence == sentence


def test_every_other_kind_leaves_as_one_of_a_few_sentences() -> None:
    own = (RefusedError, BudgetError, WireError, TermsError)
    for kind in kinds():
        if not issubclass(kind, own):
            said = describe_error(raised(kind, "17 patients of ward 3"))
            expected = problem.FAILED
            if issubclass(kind, SealingError):
                expected = problem.SEALING
            elif issubclass(kind, DataUnavailableError):
                expected = problem.UNREADABLE
            elif issubclass(kind, DataError):
                expected = problem.CHANGED
            elif issubclass(kind, StorageError):
                expected = problem.UNAVAILABLE.format(what="disk")
            assert said.sentence == expected, kind


def test_full_disk_and_held_ledger_are_told_apart_from_failing() -> None:
    full = describe_error(OSError(errno.ENOSPC, "No space left on device", PATH))
    held = describe_error(StorageError(f"{PATH}: another process holds the ledger", "ledger"))
    assert (full.code, held.code) == ("unavailable", "unavailable")
    assert full.sentence.startswith("this site's disk cannot be written now")
    assert held.sentence.startswith("this site's ledger cannot be written now")


def test_every_code_that_leaves_is_one_that_a_problem_may_carry_and_the_page_lists() -> None:
    codes = {describe_error(raised(kind, "why")).code for kind in kinds()}
    assert codes == {"policy", "epoch-lost", "refused", "unavailable", "data", "failed"}


def test_what_ends_a_site_is_what_cannot_be_believed() -> None:
    assert not any(issubclass(kind, errors.LedgerError) for kind in request_handler._REFUSALS)
    assert not issubclass(StorageError, errors.LedgerError)
