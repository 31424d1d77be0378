"""Units are converted as tables of laboratories say; what does not measure the same is refused."""

import pytest

from client.data.conversion.units import find_conversion
from privacy.errors import SiteConfigError


@pytest.mark.parametrize(
    ("old", "new", "molar_mass", "number", "expected"),
    [
        ("mg/dL", "mmol/L", 180.156, 90.0, 4.9957),  # glucose: divided by 18.016
        ("mmol/L", "mg/dL", 386.65, 5.0, 193.325),  # cholesterol: times 38.665
        ("mg/dL", "umol/L", 113.12, 1.0, 88.402),  # creatinine
        ("ug/L", "mg/L", None, 5000.0, 5.0),
        ("degF", "degC", None, 98.6, 37.0),
        ("lb", "kg", None, 150.0, 68.0389),
        ("inch", "cm", None, 70.0, 177.8),
        ("months", "years", None, 18.0, 1.5),
        ("mmHg", "kPa", None, 120.0, 15.9987),
        ("10^9/L", "1/uL", None, 5.0, 5000.0),
        ("10^9/L", "10*3/uL", None, 5.0, 5.0),
        ("%", "1", None, 12.0, 0.12),
        ("g/l", "g/dL", None, 130.0, 13.0),
    ],
)
def test_number_is_converted(old: str, new: str, molar_mass: float | None, number: float, expected: float) -> None:
    assert find_conversion(old, new, molar_mass).apply(number) == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize(
    ("old", "new", "molar_mass", "sentence"),
    [
        ("mg/dL", "mmol/L", None, "between mass and amount of substance, write molar_mass"),
        ("mg/dL", "kg", None, "'mg/dL' cannot become 'kg': they do not measure the same"),
        ("mgg/dL", "mg/dL", None, "'mgg' is no unit that is known"),
        ("mg)/(dL", "mg/dL", None, "cannot be understood"),
        ("__import__('os')", "mg", None, "cannot be understood|is no unit"),
    ],
)
def test_conversion_that_cannot_be_is_refused(old: str, new: str, molar_mass: float | None, sentence: str) -> None:
    with pytest.raises(SiteConfigError, match=sentence):
        find_conversion(old, new, molar_mass)
