"""A budget as people read it: amounts granted, spent, set aside and left, safely rounded."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from privacy.document import Document


class GrantFigures(Document):
    """Where one grant stands: in nano units of Renyi divergence at ``order``, and in epsilon at ``delta``."""

    epsilon: float
    delta: float
    order: int
    limit: int
    spent: int
    set_aside: int
    left: int
    epsilon_spent: float
    epsilon_set_aside: float
    epsilon_left: float


class Budget(Document):
    """Where a population stands: the sum of its grants.

    ``None`` stands for *no grant* in ``epsilon_granted`` and ``delta``, and for *no bound* in ``epsilon_spent``.
    """

    population: str
    epsilon_granted: float | None
    delta: float | None
    epsilon_spent: float | None
    epsilon_set_aside: float
    epsilon_left: float
    studies: int
    protected: bool
    held_out_protected: bool
    grants: tuple[GrantFigures, ...]


def round_up(value: Decimal) -> float:
    """An epsilon that was spent, as it is shown: four digits, never less than it is."""
    return float(value.quantize(_SHOWN, ROUND_CEILING))


def round_down(value: Decimal) -> float:
    """An epsilon that is left, as it is shown: four digits, never more than it is."""
    return float(max(Decimal(0), value).quantize(_SHOWN, ROUND_FLOOR))


_SHOWN: Final = Decimal("0.0001")
