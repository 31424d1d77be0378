"""Heads of ledgers that were never written."""

from privacy.keys import SigningKey
from privacy.ledger.signed_head import LedgerHead
from privacy.signed import Signed


def standing(key: SigningKey, site: str, number: int = 10, hash: str = "4" * 64) -> Signed[LedgerHead]:
    """A signed head of a ledger without populations."""
    head = LedgerHead(site=site, number=number, hash=hash, time="2026-03-02T08:00:00Z", recovered=None, accounts=())
    return Signed[LedgerHead].sign(key, head)
