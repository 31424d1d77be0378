"""What it would cost to go on from an older copy of the book: the recovery is tried on a copy, and compared.

The rules of a recovery are the book's own (``privacy/ledger/state.py``): what a witness has seen of the lost book is
taken over, everything open counts as spent, and its studies are closed.
"""

from dataclasses import dataclass

from privacy.accounting.figures import Budget
from privacy.keys import PublicKey, SigningKey
from privacy.ledger import LedgerState
from privacy.ledger.entries import Recover
from privacy.ledger.signed_head import Countersigned
from privacy.ledger.signing import Head


@dataclass(frozen=True)
class Rehearsal:
    """A recovery that was tried: where the book stands, what was seen, which studies it closes, and the figures."""

    own: Head
    seen: Head
    closed: tuple[str, ...]
    before: dict[str, Budget]
    after: dict[str, Budget]


def rehearse(book: LedgerState, countersigned: Countersigned, witness: PublicKey, key: SigningKey) -> Rehearsal:
    """Try a recovery on ``book``, a copy, which is changed.

    Raises:
        LedgerError: nothing is lost, or the head is not of this book or not seen by ``witness``.
    """
    own, before = book.head, {each.population: each for each in book.budgets()}
    still_open = [
        study
        for account in book.accounts.values()
        for study, allowance in account.allowances.items()
        if not allowance.closed
    ]
    recover = Recover(witness=witness.text, countersigned=countersigned, sentence="a rehearsal")
    book.append(recover, book.time, key)
    return Rehearsal(
        own=own,
        seen=Head(countersigned.head.statement.number, countersigned.head.statement.hash),
        closed=tuple(still_open),
        before=before,
        after={each.population: each for each in book.budgets()},
    )
