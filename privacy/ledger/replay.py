"""Verify all entries of a ledger, from the first to the last."""

from collections.abc import Iterable
from contextlib import closing

from privacy.keys import PublicKey
from privacy.ledger.check_ahead import check_ahead
from privacy.ledger.signing import SignedEntry
from privacy.ledger.state import LedgerState, Watch
from privacy.signature_checkers import Checkers


def replay(
    signed_entries: Iterable[SignedEntry],
    key: PublicKey | None = None,
    watch: Watch | None = None,
    checkers: Checkers | None = None,
) -> LedgerState:
    """Verify and apply all entries of a ledger, and return its state.

    Args:
        signed_entries: from the first.
        key: one of the site's keys, known from another source; without it, only the ledger itself names its key.
        watch: is called with the state and the entry after each entry.
        checkers: processes that check signatures ahead; if not given, a long ledger gets some of its own.

    Raises:
        LedgerError: naming the first wrong entry and the rule it breaks; or there is no entry; or it is another
        site's ledger.
    """
    ledger_state = LedgerState()
    add_entries(ledger_state, signed_entries, watch, checkers)
    ledger_state.check_key(key)
    return ledger_state


def add_entries(
    ledger_state: LedgerState,
    signed_entries: Iterable[SignedEntry],
    watch: Watch | None = None,
    checkers: Checkers | None = None,
) -> None:
    """Verify and apply the next entries of a ledger.

    Raises:
        LedgerError: naming the first wrong entry and the rule it breaks.
    """
    with closing(check_ahead(signed_entries, ledger_state, lambda signed: signed, checkers)) as entries:
        for signed, verified in entries:
            entry = ledger_state.apply(signed, verified)
            if watch is not None:
                watch(ledger_state, entry)
