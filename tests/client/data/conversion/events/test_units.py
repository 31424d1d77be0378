"""Values come in the unit of the contract's variable, or not at all."""

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.data.conversion.events.units import UnusableUnitError, convert_value
from privacy.study.data.event_criteria import Variable

pytest.importorskip("pint")


def variable(unit: str, **keys: Any) -> Variable:
    codes = [{"system": "loinc", "code": "2345-7"}]
    return Variable.model_validate({"name": "value", "codes": codes, "unit": unit, "low": 0, "high": 1} | keys)


@pytest.mark.parametrize(
    ("unit", "wanted", "value", "expected"),
    [
        ("mg/dL", "mg/dL", 7.0, 7.0),
        ("mg/dL", "g/L", 100, 1.0),
        ("mm[Hg]", "mmHg", 80, 80),
        ("10*3/uL", "10*9/L", 5, 5),  # a thousand in a microlitre is 10^9 in a litre
        ("/uL", "10*3/uL", 5000, 5),
        ("[degF]", "Cel", 98.6, 37.0),
        ("Cel", "degC", 37, 37),
        ("{beats}/min", "1/min", 60, 60),
        ("[lb_av]", "kg", 10, 4.5359237),
        ("%", "1", 50, 0.5),
        ("{score}", "", 3, 3),
    ],
)
def test_value_of_another_unit_is_converted(unit: str, wanted: str, value: float, expected: float) -> None:
    assert convert_value(variable(wanted), value, unit) == pytest.approx(expected, rel=1e-9)


def test_amount_of_substance_needs_the_molar_mass() -> None:
    with pytest.raises(UnusableUnitError, match="does not become mg/dL"):
        convert_value(variable("mg/dL"), 5, "mmol/L")
    # 5 mmol/L * 180.156 mg/mmol / 10 dL/L
    assert convert_value(variable("mg/dL", molar_mass=180.156), 5, "mmol/L") == pytest.approx(90.078)


def test_conversion_of_the_contract_is_used() -> None:
    """HbA1c, IFCC to NGSP: 53 mmol/mol is 7.0 %."""
    hba1c = variable("%", conversions=[{"unit": "mmol/mol", "times": 0.09148, "plus": 2.152}])
    assert convert_value(hba1c, 53, "mmol/mol") == pytest.approx(7.0, abs=0.005)


@pytest.mark.parametrize("unit", ["", "kg", "gallop", "m**9**9**9", "m**(9*999999999)", "x" * 5000, "mg/dL\x00"])
def test_unit_that_does_not_convert_is_refused(unit: str) -> None:
    with pytest.raises(UnusableUnitError) as caught:
        convert_value(variable("mg/dL"), 123456.5, unit)
    assert "123456" not in str(caught.value)


@settings(deadline=None)
@given(st.text(st.characters(codec="ascii"), max_size=12))
def test_any_text_as_a_unit_gives_a_number_or_a_reason(unit: str) -> None:
    with contextlib.suppress(UnusableUnitError):
        assert math.isfinite(convert_value(variable("mg/dL"), 1.0, unit))
