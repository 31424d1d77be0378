"""Compute what a recovery from an older copy of the ledger would cost: try it on a copy, and compare.

The rules of a recovery are those of the ledger (``privacy/ledger/state.py``): what a witness has seen of the lost
ledger is taken over, everything open counts as spent, and its studies are closed.
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
    """A recovery tried on a copy: the ledger's head, the head that was seen, the studies it closes, the figures."""

    own: Head
    seen: Head
    closed: tuple[str, ...]
    before: dict[str, Budget]
    after: dict[str, Budget]


def rehearse_recovery(
    state: LedgerState, countersigned: Countersigned, witness: PublicKey, key: SigningKey
) -> Rehearsal:
    """Try a recovery on ``state``, a copy, which is changed.

    Raises:
        LedgerError: nothing is lost, or the head is not of this ledger or not seen by ``witness``.
    """
    own, before = state.head, {each.population: each for each in state.list_budgets()}
    still_open = [
        study
        for account in state.accounts.values()
        for study, allowance in account.allowances.items()
        if not allowance.closed
    ]
    recover = Recover(witness=witness.text, countersigned=countersigned, sentence="a rehearsal")
    state.append(recover, state.time, key)
    return Rehearsal(
        own=own,
        seen=Head(countersigned.head.statement.number, countersigned.head.statement.hash),
        closed=tuple(still_open),
        before=before,
        after={each.population: each for each in state.list_budgets()},
    )
