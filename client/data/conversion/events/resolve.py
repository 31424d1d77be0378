"""Resolve an event to what the contract asks of it: columns of codes, values of variables, criteria that it meets.

Only this is kept of an event, with its patient, visit and time. A note is searched here and then gone.

Rules:

* a code counts as itself, and as every code that the contract's maps lead to;
* a code that becomes nothing is counted, and listed at the site (``unused_codes.csv``), never dropped silently;
* a code that leads to several codes is counted and listed too, also where all of them count.
"""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from client.data.conversion.events.raw import Event, SystemCode
from client.data.conversion.events.units import UnusableUnitError, convert_value
from privacy.study import EventsContract
from privacy.study.data.code_systems import HIERARCHICAL
from privacy.study.data.event_criteria import CodeSet, Criteria, HasCode, HasValue, HasWords, list_normal_words
from privacy.study.data.event_labels import CodesHappen

MOST_LISTED: Final = 100_000  # different codes
_MOST_KEPT: Final = 200_000  # resolved codes


class ItemKind(IntEnum):
    """What became of an event."""

    SEEN = 0  # nothing that the contract asks for, but the patient was there
    CODE = 1  # ``number``: a column of the contract's code sets
    VALUE = 2  # ``number``: a variable, with its value
    MET = 3  # ``number``: a criterion
    LABEL_CODE = 4  # ``number``: a column of the label's code set


class Item(NamedTuple):
    """One thing that an event became."""

    kind: ItemKind
    number: int
    value: float = 0.0


class UnusableEventError(Exception):
    """An event that must not be used; the message is a clause without the value."""


@dataclass(frozen=True)
class CodeCounts:
    """How many events had a code that became nothing, or that a map leads to several codes."""

    unused: Counter[SystemCode]
    ambiguous: Counter[SystemCode]


class _Columns:
    """Finds the column of a code in a code set."""

    def __init__(self, codes: CodeSet, first: int) -> None:
        self._codes, self._first = codes, first
        self._words = {word: first + place for place, word in enumerate(codes.list_words())}
        self._longest = max(map(len, self._words), default=0)

    def find(self, code: SystemCode) -> int | None:
        """Return the column; None if it has none."""
        codes = self._codes
        if code.system != codes.system:
            return None
        if codes.buckets is not None:
            digest = hashlib.sha256(f"{code.system}\x00{code.code}".encode()).digest()
            return self._first + int.from_bytes(digest[:8], "big") % codes.buckets
        if code.system in HIERARCHICAL:
            beginnings = (code.code[:length] for length in range(min(self._longest, len(code.code)), 0, -1))
            found = next((self._words[each] for each in beginnings if each in self._words), None)
        else:
            found = self._words.get(code.code)
        return self._first + codes.width - 1 if found is None and codes.others else found


class Resolver:
    """Resolves events for one contract."""

    def __init__(
        self, contract: EventsContract, maps: Sequence[tuple[str, str, bool, Mapping[str, tuple[str, ...]]]] = ()
    ) -> None:
        """Prepare it.

        Args:
            contract: asks for codes, variables and criteria.
            maps: the contract's, read: source, target, whether all of several targets count, and the codes.
        """
        self._contract = contract
        self._maps = maps
        self._sets = list[_Columns]()
        first = 0
        for codes in contract.codes:
            self._sets.append(_Columns(codes, first))
            first += codes.width
        self._label_set = _Columns(contract.label.of, 0) if isinstance(contract.label, CodesHappen) else None
        self._variables = {
            SystemCode(name.system, list_normal_words(name.system, (name.code,))[0]): number
            for number, variable in enumerate(contract.variables)
            for name in variable.codes
        }
        self._criteria = tuple(dict.fromkeys(contract.list_criteria()))
        self._code_criteria = defaultdict[str, list[tuple[int, frozenset[str]]]](list)
        for number, each in enumerate(self._criteria):
            if isinstance(each, HasCode):
                self._code_criteria[each.system].append(
                    (number, frozenset(list_normal_words(each.system, each.codes)))
                )
        self._phrases = {
            number: tuple(f" {simplify_text(phrase)} " for phrase in each.phrases)
            for number, each in enumerate(self._criteria)
            if isinstance(each, HasWords)
        }
        self._resolved: dict[SystemCode, tuple[Item, ...]] = {}
        self.counts = CodeCounts(Counter(), Counter())
        self.without_value = Counter[int]()
        """How many events of a variable had no value."""
        self.has_codes = False
        """Whether any event had a code of the contract's sets."""

    def number_criteria(self, criteria: Criteria | None) -> frozenset[int]:
        """Return the numbers of ``criteria`` among those that items tell."""
        return frozenset(self._criteria.index(each) for each in criteria or ())

    def resolve(self, event: Event) -> list[Item]:
        """Return what ``event`` becomes; at least that the patient was seen.

        Raises:
            UnusableEventError: its value is in a unit that does not become the variable's.
        """
        items = list[Item]()
        measured = False
        for code in event.codes:
            found = self._resolve_code(code)
            items += found
            number = self._variables.get(code)
            if number is not None and not measured:
                measured = True
                items += self._resolve_value(number, event)
            elif not found and number is None:
                self._count(self.counts.unused, code)
        if event.text:
            items += self._search(event.text)
        return list(dict.fromkeys(items)) or [Item(ItemKind.SEEN, 0)]

    def _resolve_code(self, code: SystemCode) -> tuple[Item, ...]:
        if code in self._resolved:
            found = self._resolved[code]
        else:
            found = tuple(dict.fromkeys(item for each in self._list_names(code) for item in self._list_items(each)))
            if len(self._resolved) < _MOST_KEPT:
                self._resolved[code] = found
        if any(code.system == source and len(codes.get(code.code, ())) > 1 for source, _, _, codes in self._maps):
            self._count(self.counts.ambiguous, code)
        return found

    def _list_names(self, code: SystemCode) -> list[SystemCode]:
        """List the code and those that the maps lead to."""
        names = [code]
        for source, target, all_count, codes in self._maps:
            if code.system == source:
                targets = codes.get(code.code, ())
                names += [SystemCode(target, each) for each in targets if all_count or len(targets) == 1]
        return names

    def _list_items(self, code: SystemCode) -> list[Item]:
        items = [Item(ItemKind.CODE, column) for each in self._sets if (column := each.find(code)) is not None]
        if self._label_set is not None and (column := self._label_set.find(code)) is not None:
            items.append(Item(ItemKind.LABEL_CODE, column))
        self.has_codes = self.has_codes or any(item.kind is ItemKind.CODE for item in items)
        items += [
            Item(ItemKind.MET, number)
            for number, words in self._code_criteria.get(code.system, ())
            if _fits(code, words)
        ]
        return items

    def _resolve_value(self, number: int, event: Event) -> list[Item]:
        variable = self._contract.variables[number]
        if event.value is None:
            self.without_value[number] += 1
            return [Item(ItemKind.SEEN, 0)]
        try:
            value = convert_value(variable, event.value, event.unit)
        except UnusableUnitError as error:
            raise UnusableEventError(str(error)) from None
        met = [
            Item(ItemKind.MET, place)
            for place, each in enumerate(self._criteria)
            if isinstance(each, HasValue)
            and each.variable == variable.name
            and (each.above is None or value > each.above)
            and (each.below is None or value < each.below)
        ]
        return [Item(ItemKind.VALUE, number, value), *met]

    def _search(self, text: str) -> list[Item]:
        simple = f" {simplify_text(text)} "
        return [
            Item(ItemKind.MET, number)
            for number, phrases in self._phrases.items()
            if any(phrase in simple for phrase in phrases)
        ]

    def _count(self, counter: Counter[SystemCode], code: SystemCode) -> None:
        if code in counter or len(counter) < MOST_LISTED:
            counter[code] += 1
        else:
            counter[SystemCode(code.system, "(other codes)")] += 1


def simplify_text(text: str) -> str:
    """Return the words of a text in small letters, with one space between them and no punctuation.

    >>> simplify_text("Type-2  DIABETES, mellitus")
    'type 2 diabetes mellitus'
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", folded))


def _fits(code: SystemCode, words: frozenset[str]) -> bool:
    if code.system not in HIERARCHICAL:
        return code.code in words
    return any(code.code[:length] in words for length in range(len(code.code), 0, -1))
