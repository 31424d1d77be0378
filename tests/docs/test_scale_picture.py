"""What ``docs/benchmarks.md`` shows of growth is drawn and fitted from what was measured."""

import json
from typing import Any, Final

import pytest

from benchmarks.scale import fit_line
from benchmarks.scale_plot import picture
from tests.docs.pages import ROOT

FOUND: Final[dict[str, Any]] = json.loads((ROOT / "docs" / "scale.json").read_text(encoding="utf-8"))


def test_picture_is_drawn_from_what_was_measured() -> None:
    assert (ROOT / "docs" / "scale.svg").read_text(encoding="utf-8") == picture(FOUND)


@pytest.mark.parametrize("part", FOUND)
def test_fit_is_that_of_the_points(part: str) -> None:
    fit = fit_line([(each["size"], each["cpu_s"]) for each in FOUND[part]["points"]])
    assert fit == pytest.approx(FOUND[part]["fit"])


def test_line_through_points_on_a_line_has_its_slope_and_no_residual() -> None:
    fit = fit_line([(1.0, 3.0), (2.0, 5.0), (4.0, 9.0)])
    assert fit == pytest.approx({"slope": 2.0, "start": 1.0, "worst_residual": 0.0}, abs=1e-12)
