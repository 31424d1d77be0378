"""Define the figures of a budget that people read, rounded to the safe side: granted, spent, set aside, left."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from privacy.document import Document


class GrantFigures(Document):
    """Figures of one grant: in nano units of Rényi divergence at ``order``, and in epsilon at ``delta``."""

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
    """Figures of a population: the sums over its grants.

    ``None`` means *no grant* in ``epsilon_granted`` and ``delta``, and *no bound* in ``epsilon_spent``.
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
    """Round an epsilon that was spent up to four decimals, so that never less is shown than was spent."""
    return float(value.quantize(_SHOWN, ROUND_CEILING))


def round_down(value: Decimal) -> float:
    """Round an epsilon that is left down to four decimals, so that never more is shown than is left."""
    return float(max(Decimal(0), value).quantize(_SHOWN, ROUND_FLOOR))


_SHOWN: Final = Decimal("0.0001")
