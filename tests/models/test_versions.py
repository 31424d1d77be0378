"""A model that computes something else, or has other parameters, has another version."""

import json
from typing import Any

import pytest
import torch

from models.catalogue import NAMES, find_model
from models.errors import ModelError
from models.fit import check_fit
from tests.models.generated_studies import generated_terms
from tests.models.versions import FILE, describe_version

KNOWN: dict[str, Any] = json.loads(FILE.read_text())


@pytest.mark.parametrize("name", NAMES)
def test_model_computes_what_its_version_has_always_computed(name: str) -> None:
    version = find_model(name).version
    assert str(version) in KNOWN[name], f"version {version} of {name} is new; run: python -m tests.models.versions"
    wanted, found = KNOWN[name][str(version)], describe_version(name)
    hint = f"{name} is not what version {version} was; raise it in its entry, then: python -m tests.models.versions"
    assert found["parameters"] == wanted["parameters"], hint
    assert found["returns"].keys() == wanted["returns"].keys(), hint
    for key, numbers in wanted["returns"].items():
        assert found["returns"][key] == pytest.approx(numbers, rel=1e-3, abs=1e-4), hint


@pytest.mark.parametrize("name", NAMES)
def test_made_up_records_tell_models_apart(name: str) -> None:
    """Outputs that are equal for all records, or not finite, would hide a change."""
    returns = KNOWN[name][str(find_model(name).version)]["returns"]
    assert all(torch.isfinite(torch.tensor(numbers)).all() for numbers in returns.values())
    assert any(len(set(numbers)) > 1 for _, *numbers in returns.values())


def test_versions_are_numbers_from_one_without_a_gap() -> None:
    for name, versions in KNOWN.items():
        assert sorted(map(int, versions)) == list(range(1, len(versions) + 1)), name


def test_study_for_another_version_does_not_fit() -> None:
    terms = generated_terms("mlp")
    model = terms.model.model_copy(update={"version": 1})
    assert check_fit(model, terms.data, terms.task) == check_fit(terms.model, terms.data, terms.task)
    other = terms.model.model_copy(update={"version": 2})
    with pytest.raises(
        ModelError, match="'mlp' is version 1 in this program, the study asks for version 2; install"
    ):
        check_fit(other, terms.data, terms.task)
