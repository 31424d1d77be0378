"""``consilium model list`` as a researcher types it."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from models.catalogue import NAMES, find_model
from privacy.errors import TermsError
from server.cli import cli


def list_models(*words: str) -> list[dict[str, Any]]:
    """The models that the command lists; expected failures are raised."""
    arguments = ["model", "list", *words, "--json"]
    found = CliRunner().invoke(cli, arguments, catch_exceptions=False, standalone_mode=False)
    models: list[dict[str, Any]] = json.loads(found.output)["models"]
    return models


def test_list_without_a_choice_has_the_whole_catalogue() -> None:
    assert [each["name"] for each in list_models()] == list(NAMES)


def test_list_by_task_and_input_and_domain_has_the_models_that_suit_all_three() -> None:
    found = [
        each["name"] for each in list_models("--task", "survival", "--takes", "gaps", "--domain", "longitudinal")
    ]
    wanted = [
        name
        for name in NAMES
        if "survival" in find_model(name).tasks
        and "gaps" in [each.name for each in find_model(name).inputs]
        and find_model(name).domain == "longitudinal"
    ]
    assert found == wanted
    assert "dynamic-deephit" in found
    assert "gru-d" not in found


@pytest.mark.parametrize("option", ["--domain", "--task", "--takes"])
def test_list_by_a_word_that_no_model_has_names_the_words_there_are(option: str) -> None:
    with pytest.raises(TermsError, match=rf"{option}: there is no model of 'surgery'; expected one of [a-z-]+,"):
        list_models(option, "surgery")


def test_list_tells_models_that_are_slow_with_epsilon_from_the_others() -> None:
    slow = {each["name"]: each["slow_layers"] for each in list_models()}
    assert slow["adage"] == ["autoencoder"], "tied weights have no rule of their own"
    assert slow["mlp"] == []
    assert slow["unet"] == []


def test_table_says_of_how_many_layers_are_slow() -> None:
    found = CliRunner().invoke(cli, ["model", "list", "--domain", "genomics"], catch_exceptions=False)
    rows = {line.split()[0]: line for line in found.output.splitlines()}
    assert rows["adage"].endswith("ready, 1 of 1 layers by vmap")
    assert rows["deepchrome"].endswith("ready")
