"""What a document's JSON schema says of its keys, as rows of a table."""

from collections.abc import Iterator
from typing import Any, NamedTuple

Schema = dict[str, Any]


class Row(NamedTuple):
    """One key of one part."""

    key: str
    kind: str
    default: str
    limits: str
    meaning: str


def parts(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """The document and every part of it that has keys, by title."""
    yield str(schema["title"]), schema
    for name, part in sorted(schema.get("$defs", {}).items()):
        if "properties" in part:
            yield name, part


def rows(part: Schema, root: Schema) -> Iterator[Row]:
    """A row for each key of ``part``."""
    required = part.get("required", [])
    for key, value in part["properties"].items():
        default = "required" if key in required else written(value.get("default"))
        meaning = value.get("description", "")
        yield Row(key, kind_of(value, root), default, limits(value, root), meaning)


def kind_of(value: Schema, root: Schema) -> str:
    """The type in a word or two."""
    if "$ref" in value:
        name, named = referred(value["$ref"], root)
        return (
            f"one of {', '.join(map(written, named['enum']))}" if "enum" in named else f"[{name}](#{name.lower()})"
        )
    if "const" in value:
        return f"the word {written(value['const'])}" if isinstance(value["const"], str) else written(value["const"])
    if several := value.get("anyOf") or value.get("oneOf"):
        return " or ".join(dict.fromkeys(kind_of(each, root) for each in several))
    if "enum" in value:
        return f"one of {', '.join(map(written, value['enum']))}"
    match value.get("type"):
        case "array":
            return f"list of {kind_of(value['items'], root)}"
        case "object":
            return "keys and values"
        case "integer":
            return "whole number"
        case "null":
            return "null"
        case "string":
            return "text"
        case "boolean":
            return "true or false"
        case "number":
            return "number"
    return "any"


def limits(value: Schema, root: Schema) -> str:
    """What bounds a value, where something does."""
    if "$ref" in value:
        return ""
    found = [limits(each, root) for each in (value.get("anyOf") or value.get("oneOf") or []) if "$ref" not in each]
    words = {
        "minimum": "at least {}",
        "exclusiveMinimum": "above {}",
        "maximum": "at most {}",
        "exclusiveMaximum": "below {}",
        "multipleOf": "a multiple of {}",
        "minLength": "at least {} characters",
        "maxLength": "at most {} characters",
        "minItems": "at least {} of them",
        "maxItems": "at most {} of them",
    }
    found += [text.format(number(value[name])) for name, text in words.items() if name in value]
    if "pattern" in value:
        found.append(f"matches `{value['pattern']}`")
    if isinstance(value.get("items"), dict) and (each := limits(value["items"], root)):
        found.append(f"each {each}")
    return "; ".join(dict.fromkeys(each for each in found if each))


def referred(reference: str, root: Schema) -> tuple[str, Schema]:
    """The part that ``reference`` names."""
    name = reference.rsplit("/", 1)[-1]
    return name, root["$defs"][name]


def number(value: float) -> str:
    """A bound, without digits that say nothing."""
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if abs(value) < 1e6 else f"{value:,.0f}"


def written(value: Any) -> str:
    """A value as YAML has it."""
    match value:
        case None:
            return "none given"
        case True | False:
            return f"`{str(value).lower()}`"
        case str():
            return f"`{value}`" if value else '`""`'
        case []:
            return "empty"
        case list():
            return "`[" + ", ".join(f'"{each}"' if isinstance(each, str) else str(each) for each in value) + "]`"
        case dict():
            return "its defaults"
    return f"`{value:g}`"
