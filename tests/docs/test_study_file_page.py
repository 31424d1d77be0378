"""docs/study-file.md says what the terms admit, all of it, and the schema for editors does too."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from privacy.errors import TermsError
from privacy.study import parse_terms
from privacy.study.guide import KEYS, PARTS
from privacy.study.schema import Schema, build_study_schema
from server.cli import cli
from tests.docs import study_file
from tests.docs.pages import ROOT

STAND_INS = {"Training.local_epochs", "Evaluation.every"}


def with_keys(schema: Schema) -> dict[str, Schema]:
    named = {"Terms": schema, **schema["$defs"]}
    return {name: part for name, part in named.items() if "properties" in part}


def test_page_is_what_the_terms_say_now() -> None:
    written = study_file.PAGE.read_text(encoding="utf-8")
    assert written == study_file.page(), "run: python -m tests.docs.study_file"


def test_every_key_has_guidance_and_every_guidance_a_key() -> None:
    """Whoever adds a key to the terms says what it means in privacy/study/guide.py."""
    parts = with_keys(build_study_schema())
    keys = {f"{name}.{key}" for name, part in parts.items() for key in part["properties"]}
    assert keys - STAND_INS == set(KEYS)
    assert set(parts) == set(PARTS)


@pytest.mark.parametrize(
    "key",
    [
        *(
            "SecureAggregation.value_range",
            "Training.sampling_rate",
            "Training.learning_rate",
            "Training.local_steps",
        ),
        *("Training.rounds", "Privacy.clipping_norm", "Privacy.epsilon", "Privacy.delta", "Cohort.colluders"),
        *("Cohort.minimum", "TableContract.missing", "TableContract.records_per_patient", "Evaluation.bins"),
    ],
)
def test_key_that_people_had_to_guess_says_how_to_choose_it(key: str) -> None:
    assert KEYS[key].choose


def test_command_prints_the_schema() -> None:
    printed = CliRunner().invoke(cli, ["study", "schema"], catch_exceptions=False).stdout
    assert json.loads(printed) == json.loads(json.dumps(build_study_schema()))


# The schema against the terms: a judge of its own, as small as the schema needs -----------------------------


def admits(schema: Schema, value: Any, root: Schema) -> bool:
    """Whether ``value`` keeps ``schema``, by the words of JSON schema that a study's schema uses."""
    if "$ref" in schema:
        return admits(root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], value, root)
    known = {
        *("title", "description", "default", "$schema", "$defs", "discriminator", "anyOf", "oneOf", "not", "const"),
        *(
            "enum",
            "type",
            "pattern",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "items",
            "minimum",
            "maximum",
        ),
        *("exclusiveMinimum", "exclusiveMaximum", "multipleOf", "properties", "required", "additionalProperties"),
    }
    assert set(schema) <= known, set(schema) - known
    if "anyOf" in schema and not any(admits(each, value, root) for each in schema["anyOf"]):
        return False
    if "oneOf" in schema and sum(admits(each, value, root) for each in schema["oneOf"]) != 1:
        return False
    if "not" in schema and admits(schema["not"], value, root):
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    return _of_its_type(schema, value, root)


def _of_its_type(schema: Schema, value: Any, root: Schema) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match schema.get("type", "object" if "required" in schema else None):
        case "object":
            return isinstance(value, dict) and _has_its_keys(schema, value, root)
        case "array":
            return isinstance(value, list) and all(admits(schema["items"], each, root) for each in value)
        case "integer" | "number":
            return number and _is_within(schema, value)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
    return True


def _has_its_keys(schema: Schema, value: dict[str, Any], root: Schema) -> bool:
    parts = schema.get("properties", {})
    if any(key not in value for key in schema.get("required", [])):
        return False
    if schema.get("additionalProperties", True) is False and set(value) - set(parts):
        return False
    return all(admits(parts[key], each, root) for key, each in value.items() if key in parts)


def _is_within(schema: Schema, value: float) -> bool:
    return (
        value >= schema.get("minimum", value)
        and value <= schema.get("maximum", value)
        and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
        and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
        and ("multipleOf" not in schema or value % schema["multipleOf"] == 0)
    )


def example() -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "breast_cancer.yaml").read_text(encoding="utf-8"))
    return value


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_schema_admits_the_examples(path: Path) -> None:
    assert admits(build_study_schema(), yaml.safe_load(path.read_text(encoding="utf-8")), build_study_schema())


@pytest.mark.parametrize(
    ("section", "change", "good"),
    [
        ("training", {"local_step": 3}, False),
        ("training", {"sampling_rate": 2}, False),
        ("training", {"local_epochs": 2}, False),
        ("training", {"local_epochs": 2, "local_steps": None}, True),
        ("privacy", {"epsilon": None}, False),
        ("privacy", {"epsilon": "none", "delta": None, "clipping_norm": None}, True),
        ("privacy", {"epsilon": "three"}, False),
        ("evaluation", {"every": 5}, False),
        ("evaluation", {"every": 5, "rounds": None}, True),
        ("evaluation", {"bins": 7}, False),
        ("secure_aggregation", {"scheme": "rot13"}, False),
        ("cohort", {"colluders": 1}, True),
    ],
)
def test_schema_and_terms_agree(section: str, change: dict[str, Any], good: bool) -> None:
    """A value of None leaves the key out, but for epsilon, where YAML's nothing is a mistake."""
    value = example()
    value[section] |= change
    for key, each in change.items():
        if each is None and key != "epsilon":
            del value[section][key]
    assert admits(build_study_schema(), value, build_study_schema()) is good
    if good:
        parse_terms(value)
    else:
        with pytest.raises(TermsError):
            parse_terms(value)
