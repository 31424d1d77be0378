"""``docs/study-file.md``, made from the terms: ``python -m tests.docs.study_file`` writes it."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Final

from privacy.study.guide import KEYS, PARTS, THRESHOLD
from privacy.study.schema import Schema, build_study_schema
from tests.docs.pages import ROOT
from tests.docs.schema_rows import kind_of, limits, rows

PAGE: Final[Path] = ROOT / "docs" / "study-file.md"

_HEAD: Final = """\
# The study file

Every key of a study file, with its type, limits and default, what it means and how to choose it. Two whole files are in
[examples/](../examples/). Keys that are not here are refused, and the nearest known one is named. What holds between
keys is checked by `consilium study check FILE`, which also says what the study would cost and move.

An editor that speaks YAML can check while you type, and show what is below at each key: save the schema with
`consilium study schema > study.schema.json`, and begin the study file beside it with

```yaml
# yaml-language-server: $schema=study.schema.json
```
"""


def page() -> str:
    """The page as the terms are now."""
    schema = build_study_schema()
    return "\n".join(
        [_HEAD, *(_section(name, schema) for name in PARTS), f"## Threshold\n\n{fill(THRESHOLD, 118)}\n"]
    )


def _section(name: str, schema: Schema) -> str:
    part = schema if name == "Terms" else schema["$defs"][name]
    return f"## {name}\n\n{fill(PARTS[name], 118)}\n\n" + "\n".join(_entries(name, part, schema)) + "\n"


def _wrapped(text: str, first: str = "  ") -> str:
    return fill(
        text, 118, initial_indent=first, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _entries(name: str, part: Schema, schema: Schema) -> Iterator[str]:
    found = {row.key: row for row in rows(part, schema)}
    for key, row in found.items():
        value = part["properties"][key]
        facts = [kind_of(value, schema), limits(value, schema), _default(row.default)]
        yield _wrapped(f"**`{key}`**: {'; '.join(each for each in facts if each)}.", "- ")
        guidance = KEYS.get(f"{name}.{key}")
        yield _wrapped(value["description"] if guidance is None else guidance.meaning)
        if guidance is not None and guidance.choose:
            yield _wrapped(f"*How to choose:* {guidance.choose}")


def _default(written: str) -> str:
    match written:
        case "required":
            return written
        case "none given":
            return "may be left out"
    return f"default {written}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
