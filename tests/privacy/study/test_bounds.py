"""Public numbers have bounds of an ordinary size: the ends of floating point are nobody's choice for a study."""

from typing import Any

import pytest

from benchmarks.small_study import small_terms
from privacy.errors import TermsError

ADAM = {"rule": "adam"}


def number(low: float, high: float) -> dict[str, Any]:
    features = [{"kind": "number", "name": "age", "low": low, "high": high}]
    return {"data": {"features": features}}


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ({"privacy": {"clipping_norm": 1e-4}}, {"privacy": {"clipping_norm": 1e-30}}),
        ({"privacy": {"clipping_norm": 1e4}}, {"privacy": {"clipping_norm": 1.1e4}}),
        ({"training": {"learning_rate": 1e-9}}, {"training": {"learning_rate": 1e-300}}),
        ({"training": {"learning_rate": 1e38}}, {"training": {"learning_rate": 1e39}}),
        ({"training": {"server_learning_rate": 1e-6}}, {"training": {"server_learning_rate": 1e-300}}),
        ({"training": {"server_learning_rate": 1e3}}, {"training": {"server_learning_rate": 1e30}}),
        ({"training": {"server": {**ADAM, "tau": 1e-9}}}, {"training": {"server": {**ADAM, "tau": 1e-300}}}),
        ({"training": {"proximal": 1000}}, {"training": {"proximal": 1e30}}),
        (
            {"task": {"kind": "binary", "positive_weight": 0.001}},
            {"task": {"kind": "binary", "positive_weight": 1e-300}},
        ),
        ({"training": {"sampling_rate": 1e-9}}, {"training": {"sampling_rate": 1e-300}}),
        ({"secure_aggregation": {"value_range": 1e9}}, {"secure_aggregation": {"value_range": 2e39}}),
        ({"secure_aggregation": {"value_range": 1e-9}}, {"secure_aggregation": {"value_range": 1e-45}}),
        (number(-1e15, 1e15), number(-1e300, 1e300)),
        (number(0, 1e-15), number(0, 1e-44)),
        (number(1e9, 1e9 + 2), number(1e9, 1e9 + 0.5)),
    ],
    ids=repr,
)
def test_public_number_beyond_its_bounds_is_refused(inside: dict[str, Any], outside: dict[str, Any]) -> None:
    small_terms(**inside)
    with pytest.raises(TermsError):
        small_terms(**outside)
