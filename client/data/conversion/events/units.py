"""Convert measured values to the unit of the contract's variable.

Rules, in this order:

* the same unit, letter for letter: nothing is done;
* a conversion that the contract's variable lists;
* units of one physical dimension, by pint, also as UCUM writes them (``mm[Hg]``, ``10*3/uL``, ``Cel``,
  ``{beats}/min``); mmol/L and mg/dL by the variable's molar mass, if the contract has it;
* everything else is refused.

Sources: UCUM, https://ucum.org/ucum; pint's registry of units.
"""

import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from client.data.conversion.units import find_conversion
from privacy.errors import SiteConfigError
from privacy.study.data.event_criteria import Variable

MOST_VALUE: Final = 1e15
MOST_LENGTH: Final = 40  # characters of a unit
_UCUM: Final = {
    "mm[hg]": "mmHg", "cm[h2o]": "cmH2O", "cel": "degC", "[degf]": "degF", "k": "kelvin", "[lb_av]": "pound",
    "[oz_av]": "ounce", "[in_i]": "inch", "[ft_i]": "foot", "a": "year", "mo": "month", "wk": "week", "d": "day",
    "[ppm]": "ppm", "[pptr]": "1e-12",
}  # fmt: skip
_FACTOR: Final = re.compile(r"(10[*^]-?[0-9]{1,2}|x?10\^?e?[0-9]{1,2}|[0-9]+(?:\.[0-9]+)?)(?=[./ ]|$)")
_REMARK: Final = re.compile(r"\{[^}]*\}")
_LARGE_POWER: Final = re.compile(r"(\*\*|\^).*(\*\*|\^)|(\*\*|\^)\(|(\*\*|\^) *-?[0-9]{3}|[0-9]{7}")
_POWER: Final = re.compile(r"(?<=[A-Za-z])([2-3])(?![0-9A-Za-z])")


class UnusableUnitError(Exception):
    """A unit that does not become the variable's; the message is a clause without a value."""


def convert_value(variable: Variable, value: float, unit: str) -> float:
    """Convert ``value`` from ``unit`` to the unit of ``variable``.

    Raises:
        UnusableUnitError: the unit is missing or does not convert, or the result is no number of usual size.
        SiteConfigError: the library that converts is not installed.
    """
    result = _find_conversion(variable, unit)(value)
    if not math.isfinite(result) or abs(result) > MOST_VALUE:
        raise UnusableUnitError("is no number of usual size")
    return result


def _find_conversion(variable: Variable, unit: str) -> Callable[[float], float]:
    if unit == variable.unit:
        return lambda value: value
    for each in variable.conversions:
        if each.unit == unit:
            return lambda value, times=each.times, plus=each.plus: value * times + plus  # type: ignore[misc]
    if not unit:
        raise UnusableUnitError(
            f"has no unit, expected one for '{variable.name}'; name it under units in the mapping"
        )
    return _find_physical_conversion(unit, variable.unit, variable.name, variable.molar_mass)


@lru_cache(maxsize=4096)
def _find_physical_conversion(
    unit: str, wanted: str, name: str, molar_mass: float | None
) -> Callable[[float], float]:
    try:
        (factor, source), (wanted_factor, target) = _parse_ucum(unit), _parse_ucum(wanted)
        conversion = find_conversion(source, target, molar_mass)
    except (SiteConfigError, ValueError) as error:
        if "install" in str(error):
            raise
        raise UnusableUnitError(
            f"is in a unit that does not become {wanted or 'a plain number'} of '{name}'"
        ) from None
    return lambda value: conversion.apply(value * factor) / wanted_factor


def _parse_ucum(unit: str) -> tuple[float, str]:
    """Return a factor and what pint reads as the unit."""
    text = _REMARK.sub("", unit.strip())
    if len(text) > MOST_LENGTH or not text.isprintable() or _LARGE_POWER.search(text):  # pint would compute it
        raise ValueError("no unit that anybody writes")
    factor = 1.0
    if found := _FACTOR.match(text):
        number = found[1].replace("*", "^").removeprefix("x")
        factor = 10.0 ** int(number[3:]) if number.startswith("10^") else float(number.replace("10e", "1e"))
        text = text[found.end() :].lstrip(". ")
    text = f"1{text}" if text.startswith("/") else text
    parts = [_UCUM.get(part.lower(), part) if "[" in part or part in ("Cel", "K", "a", "mo", "wk", "d") else part
             for part in re.split(r"([/.])", text)]  # fmt: skip
    return factor, _POWER.sub(r"**\1", "".join("*" if part == "." else part for part in parts))
