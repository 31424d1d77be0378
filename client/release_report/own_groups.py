"""Find groups of patients that a site names itself, in data that no study asks for: wards, ages, centres.

A mapping file of the site with ``groups`` leads to them (``client/data/conversion/table_mapping.py``). Its rows become
records of a contract made for this one purpose, so that they are read as hospital data always are: confined, with units
and dates, with every mistake named.

Rules:

* a row belongs to the patient that it names, in the normal form of identifiers. The model's data may be of any kind;
* a patient without a row, or without a word or number there, is in the group "missing";
* a patient whose rows differ is in the group "several", never in the first that comes;
* nothing but the patients' groups is kept, and they stay in this process.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.data.contents import Contents
from client.data.conversion.table_mapping import GroupRule, TableMapping
from client.prediction.columns import FEATURES, MISSING, list_columns
from client.release_report.subgroups import Group, find_band, name_bands
from privacy.document import read_yaml
from privacy.errors import SiteConfigError
from privacy.study import BinaryLabel, Category, Number, TableContract
from privacy.study.data.contract import DataContract

SEVERAL: Final = "several"
_MISSING_WORDS: Final = ("", "?")


def read_group_rules(path: Path) -> Mapping[str, GroupRule]:
    """Read the groups that the mapping file ``path`` names.

    Raises:
        SiteConfigError: it cannot be read, has mistakes, or names no groups.
    """
    groups = read_yaml(path, TableMapping, SiteConfigError).groups
    if not groups:
        raise SiteConfigError(f"{path}: names no groups; write groups: {{ward: {{words: [...]}}}}, or bands: [...]")
    return groups


def make_group_contract(of: DataContract, rules: Mapping[str, GroupRule], path: Path) -> TableContract:
    """Make the contract of the rows of groups: one column for each, and the patient.

    Its range reaches beyond the outer limits, so that a number that is clipped to it stays in its band.

    Raises:
        SiteConfigError: a group has the name of the patient's column.
    """
    if of.patient in rules:
        raise SiteConfigError(f"{path}: groups.{of.patient}: is the patient's column; give the group another name")
    free = next(name for name in map("label {}".format, itertools.count()) if name not in (*rules, of.patient))
    return TableContract(
        name=of.name,
        patient=of.patient,
        ranges_from="the groups that the site asks for",
        features=tuple(_make_feature(name, rule) for name, rule in rules.items()),
        label=BinaryLabel(kind="binary", name=free, positive=("1",), negative=("0",)),  # asked of no row
        missing=tuple(dict.fromkeys((*_MISSING_WORDS, *getattr(of, "missing", ())))),
    )


class OwnGroups:
    """The groups of patients, by the name of each column."""

    def __init__(self, contract: TableContract, rules: Mapping[str, GroupRule], contents: Contents) -> None:
        """Find the groups of every patient in rows that keep ``contract``."""
        features = np.asarray(contents.inputs[FEATURES][:])
        self._words = dict[str, Sequence[str]]()
        self._places = dict[str, Mapping[str, int]]()
        for column in list_columns(contract):
            name, own, absent = column.feature.name, features[:, column.numbers], features[:, column.missing] == 1
            limits = rules[name].bands
            if isinstance(column.feature, Number):
                words: Sequence[str] = name_bands(limits)
                places = find_band(column.feature, contract.scaled, own[:, 0], limits)
            else:
                words, places = rules[name].words, own.argmax(axis=1)
            self._words[name] = [*words, MISSING, SEVERAL]
            places[absent] = len(words)
            self._places[name] = _join_rows(contents.ids, places, len(words) + 1)

    def find_groups(self, patients: Sequence[str]) -> list[Group]:
        """Find the groups of records, each of which is of a patient in normal form."""
        return [
            Group(name, word, own == place)
            for name, words in self._words.items()
            for own in [self._find_places(name, patients)]
            for place, word in enumerate(words)
        ]

    def count_unknown(self, patients: Sequence[str]) -> int:
        """Count the patients who have no row."""
        known = next(iter(self._places.values()))
        return len({each for each in patients if each not in known})

    def _find_places(self, name: str, patients: Sequence[str]) -> NDArray[np.int64]:
        places, missing = self._places[name], len(self._words[name]) - 2
        return np.array([places.get(each, missing) for each in patients], dtype=np.int64)


def _make_feature(name: str, rule: GroupRule) -> Number | Category:
    if rule.words:
        return Category(kind="category", name=name, values=rule.words)
    first, last = rule.bands[0], rule.bands[-1]
    beyond = max(last - first, abs(first), abs(last), 1.0) / 8
    return Number(kind="number", name=name, low=first - beyond, high=last + beyond)


def _join_rows(patients: Sequence[str], places: NDArray[Any], several: int) -> dict[str, int]:
    """Return the place of each patient's group, which is ``several`` if their rows differ."""
    found = dict[str, int]()
    for patient, place in zip(patients, places.tolist(), strict=True):
        if found.setdefault(patient, place) != place:
            found[patient] = several
    return found
