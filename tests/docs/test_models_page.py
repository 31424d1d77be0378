"""docs/models.md says what the catalogue has."""

import json
from typing import Any

from tests.docs import models_page

WITHOUT_CURVE = {"med2vec", "doctor-ai", "smiles-rnn", "cnnc", "code-embeddings"}
"""Models below a simple way whose curves are not measured yet; none may join them."""


def read_studies() -> list[dict[str, Any]]:
    studies: list[dict[str, Any]] = json.loads(models_page.RESULTS.read_text(encoding="utf-8"))["studies"]
    return studies


def test_page_is_what_the_catalogue_says_now() -> None:
    written = models_page.PAGE.read_text(encoding="utf-8")
    assert written == models_page.page(), "run: python -m tests.docs.models_page"


def test_every_row_stands_beside_a_simple_way() -> None:
    rows = [each for each in read_studies() if "federated" in each]
    assert [each["model"] for each in rows if "floor" not in each] == []


def test_a_model_below_a_simple_way_has_a_learning_curve() -> None:
    rows = [each for each in read_studies() if "federated" in each]
    below = [each for each in rows if len(models_page.list_above_floor(each)) < 2]
    assert {each["model"] for each in below if "curves" not in each} == WITHOUT_CURVE


def test_a_row_is_above_where_its_error_is_less_or_its_figure_more() -> None:
    figures = {"federated": {"none": 0.81}, "pooled": {"mean": 0.79}, "floor": {"figure": 0.8}}
    assert models_page.list_above_floor({"lower_is_better": False, **figures}) == ["federated"]
    assert models_page.list_above_floor({"lower_is_better": True, **figures}) == ["pooled"]
    figures["floor"]["figure"] = 0.81  # as much is not above
    assert models_page.list_above_floor({"lower_is_better": False, **figures}) == []
