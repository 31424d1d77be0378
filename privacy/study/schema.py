"""Build the JSON schema of a study file, for editors: each key with its type, its meaning and how to choose it.

It is the schema of the terms, with the two keys that may replace another (``training.local_epochs`` and
``evaluation.every``), what stages and a table's label may stand for, and the guidance of ``privacy/study/guide/``.
Rules between keys are not in it: ``consilium study check`` checks them.
"""

from typing import Any, Final

from privacy.study.guide import KEYS, PARTS
from privacy.study.terms import Terms

Schema = dict[str, Any]
_OF_STAGES: Final = ("rounds", "learning_rate")
"""The keys of training that its stages may stand for."""


def build_study_schema() -> Schema:
    """Build the schema, as JSON schema draft 2020-12."""
    schema = Terms.model_json_schema()
    _add_substitute_key(
        schema["$defs"]["Training"],
        "local_epochs",
        "local_steps",
        {"type": "number", "exclusiveMinimum": 0, "maximum": 100_000},
        "Stands for local_steps: so many passes over a site's patients, of one over sampling_rate steps each.",
    )
    _add_substitute_key(
        schema["$defs"]["Evaluation"],
        "every",
        "rounds",
        {"type": "integer", "minimum": 1},
        "Stands for rounds: after every so many rounds, and after the last one.",
    )
    training = schema["$defs"]["Training"]
    training["required"] = [name for name in training["required"] if name not in _OF_STAGES]
    training["anyOf"] = [{"required": list(_OF_STAGES)}, {"required": ["stages"]}]
    # a table's label says the task, and a study of statistics has no model and trains nothing
    schema["required"] = [name for name in schema["required"] if name not in ("task", "model", "training")]
    counts = {"properties": {"task": {"properties": {"kind": {"const": "statistics"}}}}, "required": ["task"]}
    schema["anyOf"] = [{"required": ["model", "training"]}, counts]
    for name, part in {"Terms": schema, **schema["$defs"]}.items():
        for key, value in part.get("properties", {}).items():
            value.pop("title", None)
            words = [each["const"] for each in value.get("anyOf", []) if "const" in each]
            if words and value.get("default", "") is None:
                value["default"] = words[0]
            if guidance := KEYS.get(f"{name}.{key}"):
                value["description"] = " ".join(each for each in guidance if each)
        if name in PARTS:
            part["description"] = PARTS[name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Terms",
    }


def _add_substitute_key(part: Schema, key: str, other: str, value: Schema, description: str) -> None:
    """Allow ``key`` in place of ``other``, but not both."""
    part["properties"][key] = {**value, "description": description}
    part["not"] = {"required": [other, key]}
    if other in part.get("required", []):
        part["required"] = [name for name in part["required"] if name != other]
        part["oneOf"] = [{"required": [other]}, {"required": [key]}]
