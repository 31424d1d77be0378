"""Check a ledger from its first byte to its last, and say what it grants, what is spent, and what needs attention.

* Everything is computed again from the bytes: hashes, signatures, what each event costs, what that leaves of each
  grant.
* A head that the site gave over another channel must be among the entries: a ledger without it was cut, rewritten,
  or is another one. For the entries after this head there is no proof outside the file.
"""

from pathlib import Path

from privacy.accounting.figures import Budget
from privacy.audit.read_ledger import read_ledger
from privacy.audit.report.findings import list_findings_in_entries
from privacy.audit.report.timeline import Timeline
from privacy.document import Document
from privacy.errors import LedgerError
from privacy.keys import PublicKey
from privacy.ledger import LedgerState


class Verified(Document):
    """The result of ``verify``. ``key_given`` says whether the key came from another source than the ledger."""

    file: str
    form: str
    site: str
    key: str
    key_given: bool
    entries: int
    head: str
    head_given: int | None
    """The number of the entry whose hash was given; None if no hash was given."""
    last_entry: str
    witnessed: int | None
    recovered: int | None
    unsettled_rounds: int
    populations: tuple[Budget, ...]
    attention: tuple[str, ...]
    """What a reader must not overlook, the most serious first."""


def check_ledger(path: Path, key: PublicKey | None, head: str | None = None) -> Verified:
    """Verify the ledger in ``path``, whichever form it has; ``head`` must be the hash of one of its entries.

    Raises:
        LedgerError: it cannot be read, an entry is wrong (named), or the head is not in it.
    """
    timeline = Timeline()
    form, state = read_ledger(path, key, timeline.apply)
    number = None if head is None else state.find_entry_number(head)
    if head is not None and number is None:
        raise LedgerError(
            f"{path}: no entry has the hash {head} that was given; its newest, entry {state.head.number}, has "
            f"{state.head.hash}: its tail was cut off, it was rewritten, or it is another ledger; ask the site for a "
            "new export and the head printed with it"
        )
    return _build_result(path, form, state, key is not None, number, list_findings_in_entries(state, timeline))


def _build_result(
    path: Path, form: str, state: LedgerState, key_given: bool, head_given: int | None, attention: list[str]
) -> Verified:
    return Verified(
        file=str(path),
        form=form,
        site=state.site,
        key=state.key.typed,
        key_given=key_given,
        entries=state.head.number,
        head=state.head.hash,
        head_given=head_given,
        last_entry=state.time,
        witnessed=None if state.witnessed is None else state.witnessed.number,
        recovered=None if state.recovered is None else state.recovered.number,
        unsettled_rounds=len(state.unsettled),
        populations=tuple(state.list_budgets()),
        attention=tuple(attention),
    )
