"""Convert numbers between units, through pint: ``mg/dL`` to ``mmol/L``, ``degF`` to ``degC``, ``months`` to ``years``.

A conversion is a factor and an offset, computed once. Between mass and amount of substance it needs the molar mass.
"""

import re
from functools import cache
from typing import Any, Final, NamedTuple

from privacy.errors import SiteConfigError

_PER: Final = re.compile(r"\s*(?:10(?:\^|\*\*|\*|[eE])([0-9]{1,2})|1)\s*/(.+)")  # of cell counts: 10^9/L
_OFFSET_UNITS: Final = 1e-12  # what rounding leaves of an offset that is none, in parts of the factor


class Conversion(NamedTuple):
    """A number in the new unit is ``factor`` times the number in the old one, plus ``offset``."""

    factor: float
    offset: float

    def apply(self, number: float) -> float:
        """Return ``number``, of the old unit, in the new one."""
        return number * self.factor + self.offset


def find_conversion(old: str, new: str, molar_mass: float | None) -> Conversion:
    """Find how numbers in the unit ``old`` become numbers in ``new``.

    Args:
        old: the hospital's unit.
        new: the contract's.
        molar_mass: of the substance, in g/mol; None if none is needed.

    Raises:
        SiteConfigError: a unit is not known, or they do not measure the same.
    """
    registry = _open_registry()
    import pint

    context: tuple[str, ...] = ()
    constants = dict[str, Any]()
    if molar_mass is not None:
        context, constants = ("chemistry",), {"mw": registry.Quantity(molar_mass, "g/mol")}
    (old_scale, old_unit), (new_scale, new_unit) = _split_scale(old), _split_scale(new)
    try:
        zero, one = (
            float(registry.Quantity(each * old_scale, old_unit).to(new_unit, *context, **constants).magnitude)
            / new_scale
            for each in (0.0, 1.0)
        )
    except pint.UndefinedUnitError as cause:
        raise SiteConfigError(
            f"unit: '{', '.join(cause.unit_names)}' is no unit that is known; write it as mg/dL, mmol/L, degC"
        ) from None
    except pint.DimensionalityError:
        more = "" if molar_mass is not None else "; between mass and amount of substance, write molar_mass in g/mol"
        raise SiteConfigError(f"unit: '{old}' cannot become '{new}': they do not measure the same{more}") from None
    except Exception as cause:  # pint raises whatever its parser meets in a text that is no unit
        raise SiteConfigError(f"unit: '{old}' to '{new}' cannot be understood ({type(cause).__name__})") from None
    factor = one - zero
    return Conversion(factor, zero if abs(zero) > _OFFSET_UNITS * abs(factor) else 0.0)


@cache
def _open_registry() -> Any:
    """Open pint's units; this takes a third of a second, so once a process."""
    try:
        import pint
    except ImportError:
        raise SiteConfigError(
            "units are converted with pint; install it: pip install 'consilium[tables]'"
        ) from None
    return pint.UnitRegistry(autoconvert_offset_to_baseunit=True)


def _split_scale(unit: str) -> tuple[float, str]:
    """Return the power of ten per something, and the unit; pint takes no number in a unit.

    >>> _split_scale("10^9/L")
    (1000000000.0, '(L)**-1')
    """
    found = _PER.fullmatch(unit)
    return (1.0, unit) if found is None else (10.0 ** int(found[1] or 0), f"({found[2]})**-1")
