"""Frozen documents (terms, configurations, messages), and how YAML from a person is parsed into one.

Rules:

* A document is frozen. Unknown keys are refused, and the message names the nearest known key.
* All mistakes are reported at once, one line each, with their path in the file.
* A key written twice is refused (YAML would silently take the last one).
* YAML's yes and no are refused for a number, because they would be accepted as 1 and 0.
* What pydantic needs to check a document is built when the first one is made (``defer_build``): a command uses few of
  the two hundred kinds, and building all of them would be a third of its start.
"""

import difflib
import types
import typing
from collections.abc import Hashable, Iterator, Mapping
from copy import deepcopy
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from privacy.canonical import compute_digest, from_canonical, to_canonical
from privacy.errors import Error, WireError

Location = tuple[int | str, ...]


class Document(BaseModel):
    """A frozen value that is stored, sent, and compared by digest; unknown fields are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True, defer_build=True
    )

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, fields: Any) -> Any:
        names = _list_number_fields(cls)
        # a verified ledger has hundreds of thousands of these, and to ask for any mapping takes longer than for one
        for name in names if names and (type(fields) is dict or isinstance(fields, Mapping)) else ():
            value = fields.get(name)
            if type(value) is bool or (isinstance(value, (list, tuple)) and bool in map(type, value)):
                raise ValueError(f"{name} expects a number, got a yes or a no")
        return fields

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Return the document itself: it never changes, and a ledger's state holds many thousands."""
        return self

    def to_bytes(self) -> bytes:
        """Return the RFC 8785 bytes of the document."""
        return to_canonical(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """SHA-256 of :meth:`to_bytes`, in hexadecimal."""
        return compute_digest(self.model_dump(mode="json"))


class Shown(Document):
    """A document for people; the docstring of a field is its description in the JSON schema."""

    model_config = ConfigDict(use_attribute_docstrings=True)


D = TypeVar("D", bound=Document)


def read_yaml(path: Path, kind: type[D], error: type[Error]) -> D:
    """Read the YAML file ``path`` as a ``kind``.

    Raises:
        error: the file cannot be read, is no YAML, or has mistakes; the message lists every one of them.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else "it is not UTF-8 text"
        raise error(f"{path}: cannot be read: {reason}") from None
    try:
        value = deepcopy(_parse_yaml(text))
    except yaml.YAMLError as cause:
        raise error(f"{path}: not YAML: {_describe_yaml_error(cause)}") from None
    except RecursionError:
        raise error(f"{path}: not YAML that can be used: it is nested too deeply") from None
    except ValueError as cause:  # what looks like a date or a number and is none
        raise error(f"{path}: not YAML: {cause}; put in quotes what is neither a date nor a number") from None
    return parse(value, kind, error, str(path))


@lru_cache(maxsize=256)  # a federation in one process: a configuration and a policy a site
def _parse_yaml(text: str) -> Any:
    """Parse YAML into plain values; the caller changes nothing in them.

    A site reads its configuration and its policy anew for every message. To parse the same text anew would take
    several times as long as the rest. libyaml is no way out: a deeply nested text ends the process there.
    """
    return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader


def parse(value: Any, kind: type[D], error: type[Error], source: str) -> D:
    """Parse a plain value as a ``kind``.

    Raises:
        error: naming ``source`` and every mistake in it.
    """
    if not isinstance(value, Mapping):
        raise error(f"{source}: expected keys and values, got {_describe_kind(value)}")
    try:
        try:
            return kind.model_validate(value)
        except ValidationError as cause:
            mistakes = [_describe_mistake(kind, mistake) for mistake in cause.errors(include_url=False)]
    except Exception as cause:  # a rule met an unexpected value; an Error is raised by a rule itself
        reason = str(cause) if isinstance(cause, Error) else f"it cannot be used ({type(cause).__name__})"
        raise error(f"{source}: {reason}") from None
    if len(mistakes) == 1:
        raise error(f"{source}: {mistakes[0]}")
    raise error(f"{source}: {len(mistakes)} mistakes:\n" + "\n".join(f"  - {mistake}" for mistake in mistakes))


def read_document(path: Path, kind: type[D], error: type[Error], hint: str) -> D:
    """Read a document that this program has written, in canonical JSON.

    Args:
        path: the file.
        kind: the type of the document.
        error: the type of the error to raise.
        hint: what to do about a file that cannot be used.

    Raises:
        error: the file cannot be read, or is not canonical JSON of this ``kind``.
    """
    return parse(read_value(path, error, hint), kind, error, str(path))


def read_value(path: Path, error: type[Error], hint: str) -> Any:
    """Read the plain value of a file that this program has written, in canonical JSON.

    Raises:
        error: the file cannot be read, or is not canonical JSON.
    """
    try:
        return from_canonical(path.read_bytes())
    except (OSError, WireError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else cause
        raise error(f"{path}: cannot be used: {reason}; {hint}") from None


def _describe_mistake(kind: type[BaseModel], mistake: Any) -> str:
    location: Location = mistake["loc"]
    where = ".".join(str(part) for part in _drop_tags(kind, location))
    match mistake["type"]:
        case "extra_forbidden":
            known = _list_known_keys(kind, location[:-1])
            near = difflib.get_close_matches(str(location[-1]), known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
            return f"{where}: unknown key; {hint}"
        case "missing":
            return f"{where}: missing"
        case "value_error":
            message = str(mistake["ctx"]["error"])
            return f"{where}: {message}" if where else message
        case "union_tag_not_found" | "union_tag_invalid" as without:
            return _describe_tag(where, mistake["ctx"], missing=without == "union_tag_not_found")
        case "string_type":
            return f"{where}: expected text; put it in quotes if YAML reads it as a number, yes or no"
        case kind_of_mistake:
            return f"{where}: {_describe_expected(kind_of_mistake, mistake.get('ctx', {}), mistake['msg'])}"


def _describe_tag(where: str, context: Mapping[str, Any], missing: bool) -> str:
    """Describe what is wrong with the key that chooses among the models of a union."""
    key = "type" if "type" in str(context.get("discriminator")) else "kind"
    if missing:
        return f"{where}.{key}: missing"
    return f"{where}.{key}: expected {context['expected_tags']}, got '{context['tag']}'"


def _describe_expected(kind: str, bounds: Mapping[str, Any], words: str) -> str:
    """Describe what was expected, in plain words; the library's own ``words`` where there are none."""
    match kind:
        case "string_pattern_mismatch":
            return _WRITTEN.get(bounds["pattern"], "it is not written as expected")
        case "greater_than":
            return f"expected more than {bounds['gt']}"
        case "greater_than_equal":
            return f"expected at least {bounds['ge']}"
        case "less_than":
            return f"expected less than {bounds['lt']}"
        case "less_than_equal":
            return f"expected at most {bounds['le']}"
        case "multiple_of":
            return f"expected a multiple of {bounds['multiple_of']}"
        case "too_short":
            return f"expected at least {bounds['min_length']} entries, got {bounds['actual_length']}"
        case "too_long":
            return f"expected at most {bounds['max_length']} entries, got {bounds['actual_length']}"
        case "string_too_short":
            return f"expected at least {bounds['min_length']} characters"
        case "string_too_long":
            return f"expected at most {bounds['max_length']} characters"
        case "literal_error" | "enum":
            return f"expected {bounds['expected']}"
    return _EXPECTED.get(kind, f"{words[0].lower()}{words[1:]}")


_EXPECTED: Final = {
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "dict_type": "expected keys and values",
    "model_type": "expected keys and values",
    "model_attributes_type": "expected keys and values",
}
_WRITTEN: dict[str, str] = {}
"""How a field must be written, by its pattern."""


def make_text_field(pattern: str, words: str) -> Any:
    """Make a text field of ``pattern``; the message of a mistake describes the pattern as ``words``."""
    _WRITTEN[pattern] = f"expected {words}"
    return Field(pattern=pattern)


def _drop_tags(kind: Any, location: Location) -> Location:
    """Return the path as it is in the file: without the tags by which a model of a union is chosen."""
    return tuple(part for part, is_tag, _ in _follow(kind, location) if not is_tag)


def _list_known_keys(kind: Any, location: Location) -> list[str]:
    """List the keys of the model at ``location`` within ``kind``."""
    models = [kind]
    for _, _, models in _follow(kind, location):  # noqa: B007 - the last ones
        pass
    return sorted({field.alias or key for model in models for key, field in model.model_fields.items()})


def _follow(kind: Any, location: Location) -> Iterator[tuple[int | str, bool, list[Any]]]:
    """Yield each part of ``location``, whether it is the tag of a union, and the models that it leads to."""
    models: list[Any] = [kind]
    for part in location:
        inside = [model for model in models if isinstance(part, str) and part in model.model_fields]
        tagged = [model for model in models if len(models) > 1 and _has_tag(model, part)]
        is_tag = bool(tagged) and not inside
        if inside:
            models = [each for model in inside for each in _find_models(model.model_fields[str(part)].annotation)]
        elif tagged:
            models = tagged
        yield part, is_tag, models


def _has_tag(model: Any, tag: int | str) -> bool:
    """Return whether ``tag`` chooses ``model`` among those of a union."""
    fields = [model.model_fields[name] for name in ("kind", "type") if name in model.model_fields]
    return any(tag in typing.get_args(field.annotation) for field in fields)


def _find_models(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated, list, tuple, dict):
        return [model for part in typing.get_args(annotation) for model in _find_models(part)]
    return []


@cache
def _list_number_fields(document: type[Document]) -> tuple[str, ...]:
    """List the fields of ``document`` that expect a number and no truth value."""
    expected = {name: _list_plain_types(field.annotation) for name, field in document.model_fields.items()}
    return tuple(name for name, kinds in expected.items() if bool not in kinds and kinds & {int, float})


def _list_plain_types(annotation: Any) -> set[Any]:
    """List the types that ``annotation`` consists of."""
    return {annotation}.union(*(_list_plain_types(part) for part in typing.get_args(annotation)))


def _describe_kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _describe_yaml_error(cause: yaml.YAMLError) -> str:
    if isinstance(cause, yaml.MarkedYAMLError) and cause.problem_mark is not None:
        return f"line {cause.problem_mark.line + 1}: {cause.problem}"
    return str(cause).splitlines()[0]


class _StrictLoader(yaml.SafeLoader):
    """A SafeLoader that refuses a key written twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key is no word", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is written twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)
