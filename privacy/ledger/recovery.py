"""Recover from a lost ledger: an older copy takes over what a witness has seen of the lost one.

Rules:

* The accounts take over the amounts that the witness has seen. To these is added what the older copy has paid since
  the witness last saw it, because that may be missing in the lost ledger (if two copies were in use). The result is
  never less than what was spent.
* Everything that was set aside counts as spent, and the studies that were open are closed.
* If a grant differs between the witness's head and the copy, that is a contradiction, and nothing is changed.
* If the lost ledger says that a population was trained on without privacy, this holds in the copy too.
"""

from collections import Counter

from privacy.accounting.account import Account
from privacy.ledger.rules import BrokenRuleError, Rule
from privacy.ledger.signed_head import LedgerHead
from privacy.ledger.totals import AccountHistory, rebuild_filters


def take_over_lost_accounts(
    accounts: dict[str, Account], head: LedgerHead, unseen: Counter[tuple[str, int]]
) -> None:
    """Take the totals of ``head`` over into ``accounts``.

    Args:
        accounts: the accounts of the older copy, by population; they are changed.
        head: the head of the lost ledger, as a witness has seen it.
        unseen: the result of :func:`compute_paid_since`.

    Raises:
        BrokenRuleError: the witness has seen another grant than the copy has; nothing is changed.
    """
    lost = [(totals.population, rebuild_filters(totals)) for totals in head.accounts]
    for population, filters in lost:  # refuse before anything is changed
        known = accounts[population].filters if population in accounts else []
        if any(own.granted != seen.granted for own, seen in zip(known, filters, strict=False)):
            raise BrokenRuleError(
                Rule.WITNESS, f"the witness has seen another grant of the population '{population}'"
            )
    for account in accounts.values():
        account.spend_open_allowances()
    for population, filters in lost:
        account = accounts.setdefault(population, Account(population))
        for number, seen in enumerate(filters, start=1):
            account.take_over(number, seen.granted, seen.spent + seen.set_aside + unseen[population, number])
    for totals in head.accounts:
        account = accounts[totals.population]
        if not totals.protected:
            account.unprotected_by = account.unprotected_by or "a study of the lost ledger"
        account.held_out_protected = account.held_out_protected and totals.held_out_protected


def compute_paid_since(
    accounts: dict[str, Account], history: AccountHistory, witnessed: int | None
) -> Counter[tuple[str, int]]:
    """Return what was paid after entry ``witnessed`` (None: since the beginning), by population and grant."""
    paid = Counter[tuple[str, int]]()
    for population, account in accounts.items():
        state = None if witnessed is None else history.find(population, witnessed)
        seen = () if state is None else state.amounts
        for number, filter_ in enumerate(account.filters, start=1):
            paid[population, number] = filter_.spent - (seen[number - 1][0] if number <= len(seen) else 0)
    return paid
