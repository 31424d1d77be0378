"""docs/models.md says what the catalogue has."""

import json
from typing import Any

import yaml

from benchmarks.reference_training import CHOICES
from tests.docs import models_page


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
    assert [each["model"] for each in below if not models_page.has_curve(each)] == []


def test_tuned_trainings_are_those_of_the_choices() -> None:
    choices = yaml.safe_load(CHOICES.read_text(encoding="utf-8"))
    rows = [(each["model"], each["reference"]) for each in read_studies() if "reference" in each]
    tuned = {reference.get("study", model): reference["changes"] for model, reference in rows}
    assert tuned == choices


def test_a_row_is_above_where_its_error_is_less_or_its_figure_more() -> None:
    figures = {"federated": {"none": 0.81}, "pooled": {"mean": 0.79}, "floor": {"figure": 0.8}}
    assert models_page.list_above_floor({"lower_is_better": False, **figures}) == ["federated"]
    assert models_page.list_above_floor({"lower_is_better": True, **figures}) == ["pooled"]
    reference = {"federated": [0.79, 0.8], "pooled": [0.8, 0.82]}  # tuned, where it was: mean of the seeds
    assert models_page.list_above_floor({"lower_is_better": False, **figures, "reference": reference}) == ["pooled"]
    figures["floor"]["figure"] = 0.81  # as much is not above
    assert models_page.list_above_floor({"lower_is_better": False, **figures}) == []
