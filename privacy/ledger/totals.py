"""Compute the totals of every population's account after any entry, as signed heads state them."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from privacy.accounting.account import Account
from privacy.accounting.renyi_filter import RenyiFilter
from privacy.ledger.signed_head import AccountTotals, GrantTotals


class AccountState(NamedTuple):
    """A population's account from entry ``since`` on; ``amounts`` are (spent, set aside) of each grant."""

    since: int
    protected: bool
    held_out_protected: bool
    amounts: tuple[tuple[int, int], ...]


class AccountHistory:
    """The state of every population's account after each entry; a state is stored only where it changes."""

    def __init__(self) -> None:
        self._states: dict[str, list[AccountState]] = {}

    def record(self, number: int, accounts: Mapping[str, Account]) -> None:
        """Store the states of ``accounts`` after entry ``number``."""
        for population, account in accounts.items():
            states = self._states.setdefault(population, [])
            state = read_account_state(account, number)
            if not states or states[-1][1:] != state[1:]:
                states.append(state)

    def find(self, population: str, number: int) -> AccountState | None:
        """Return the state of the account of ``population`` after entry ``number``; None if there was none."""
        states = self._states.get(population, [])
        after = bisect_right(states, number, key=lambda state: state.since)
        return states[after - 1] if after else None

    def compute_totals(self, accounts: Mapping[str, Account], number: int) -> tuple[AccountTotals, ...]:
        """Return every population's totals as they were after entry ``number``."""
        return tuple(
            make_account_totals(accounts[population], state)
            for population in self._states
            if (state := self.find(population, number)) is not None
        )

    def equals(self, totals: Sequence[AccountTotals], accounts: Mapping[str, Account], number: int) -> bool:
        """Return whether ``totals`` are those of :meth:`compute_totals`, without making documents of these."""
        states = [(each, state) for each in self._states if (state := self.find(each, number)) is not None]
        return len(totals) == len(states) and all(
            (said.population, said.protected, said.held_out_protected)
            == (population, state.protected, state.held_out_protected)
            and [(each.epsilon, each.delta, each.order, each.spent, each.set_aside) for each in said.grants]
            == [
                (filter_.granted.epsilon, filter_.granted.delta, filter_.granted.order, *amounts)
                for filter_, amounts in zip(accounts[population].filters, state.amounts, strict=False)
            ]
            for said, (population, state) in zip(totals, states, strict=True)
        )


def read_account_state(account: Account, number: int) -> AccountState:
    """Return the state of an account after entry ``number``."""
    return AccountState(
        since=number,
        protected=account.unprotected_by is None,
        held_out_protected=account.held_out_protected,
        amounts=tuple((filter_.spent, filter_.set_aside) for filter_ in account.filters),
    )


def make_account_totals(account: Account, state: AccountState) -> AccountTotals:
    """Make the totals of an account for a signed head."""
    return AccountTotals(
        population=account.population,
        protected=state.protected,
        held_out_protected=state.held_out_protected,
        grants=tuple(
            GrantTotals(
                epsilon=filter_.granted.epsilon,
                delta=filter_.granted.delta,
                order=filter_.granted.order,
                spent=spent,
                set_aside=set_aside,
            )
            for filter_, (spent, set_aside) in zip(account.filters, state.amounts, strict=False)
        ),
    )


def rebuild_filters(totals: AccountTotals) -> list[RenyiFilter]:
    """Rebuild the Rényi filters that a witness has seen, one for each grant.

    Raises:
        BudgetError: one of the grants could never have been made.
    """
    account = Account(totals.population)
    for seen in totals.grants:
        account.add_grant(seen.epsilon, seen.delta, seen.order)
        account.filters[-1].spent, account.filters[-1].set_aside = seen.spent, seen.set_aside
    return account.filters
