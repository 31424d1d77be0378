"""Frozen documents, and the sentences for what a person wrote wrongly."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from privacy.document import Document, parse, read_yaml
from privacy.errors import SiteConfigError


class Circle(Document):
    kind: Literal["circle"]
    radius: float


class Square(Document):
    kind: Literal["square"]
    side: float


class Drawing(Document):
    title: str
    shapes: tuple[Annotated[Circle | Square, Field(discriminator="kind")], ...] = ()
    frame: Circle | None = None
    copies: int = 1
    pages: tuple[int, ...] = ()
    signed: bool = False


def read(folder: Path, text: str) -> Drawing:
    path = folder / "drawing.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path, Drawing, SiteConfigError)


def test_document_is_frozen() -> None:
    drawing = Drawing(title="a")
    with pytest.raises(ValidationError, match="frozen"):
        drawing.title = "b"


def test_digest_differs_when_any_field_does() -> None:
    drawings = [
        Drawing(title="a"),
        Drawing(title="b"),
        Drawing(title="a", copies=2),
        Drawing(title="a", frame=Circle(kind="circle", radius=1)),
        Drawing(title="a", shapes=(Square(kind="square", side=1),)),
    ]
    assert len({drawing.digest for drawing in drawings}) == len(drawings)


@given(
    st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.floats(allow_nan=False, allow_infinity=False))
)
def test_document_read_back_from_its_bytes_is_equal(title: str, sides: list[float]) -> None:
    drawing = Drawing(title=title, shapes=tuple(Square(kind="square", side=side) for side in sides))
    again = Drawing.model_validate_json(drawing.to_bytes())
    assert again == drawing
    assert again.to_bytes() == drawing.to_bytes()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("title: a\ncopys: 2", "copys: unknown key; did you mean 'copies'?"),
        ("title: a\nxyzzy: 2", "xyzzy: unknown key; known keys: copies, frame, pages, shapes, signed, title"),
        (
            "title: a\nframe: {kind: circle, radius: 1, radios: 2}",
            "frame.radios: unknown key; did you mean 'radius'?",
        ),
        ("title: a\nshapes: [{kind: square, side: 1, sid: 1}]", "sid: unknown key; did you mean 'side'?"),
        ("copies: 2", "title: missing"),
        ("title: a\ncopies: many", "copies: expected a whole number"),
        ("title: a\ncopies: yes", "copies expects a number, got a yes or a no"),
        ("title: a\npages: [1, no]", "pages expects a number, got a yes or a no"),
        ("title: no", "title: expected text; put it in quotes if YAML reads it as a number, yes or no"),
        ("title: 12", "title: expected text; put it in quotes"),
        ("title: a\ntitle: b", "not YAML: line 2: the key 'title' is written twice"),
        ("title: a\nframe: {kind: circle, kind: circle}", "not YAML: line 2: the key 'kind' is written twice"),
        ("[title]: a", "not YAML: line 1: a key is no word"),
        (
            "title: 2026-13-01",
            "not YAML: month must be in 1..12; put in quotes what is neither a date nor a number",
        ),
        ("title: 0x_", "put in quotes what is neither a date nor a number"),
        ("title: [a", "not YAML: line 1: expected ',' or ']'"),
        ("title: !!python/object:os.system a", "not YAML: line 1: could not determine a constructor"),
        ("title: " + 3000 * "[", "it is nested too deeply"),
        ("- title", "expected keys and values, got a list"),
        ("", "expected keys and values, got nothing"),
    ],
)
def test_yaml_with_one_mistake_is_refused_with_its_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SiteConfigError) as caught:
        read(tmp_path, text)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/drawing.yaml: ")


def test_yaml_with_several_mistakes_lists_every_one(tmp_path: Path) -> None:
    with pytest.raises(SiteConfigError, match="3 mistakes:") as caught:
        read(tmp_path, "copys: 2\ncopies: many\n")
    lines = str(caught.value).splitlines()[1:]
    assert {line.split(":")[0] for line in lines} == {"  - title", "  - copies", "  - copys"}


def test_true_for_a_yes_or_no_is_taken(tmp_path: Path) -> None:
    assert read(tmp_path, "title: a\nsigned: yes").signed


def test_file_that_is_changed_and_changed_back_is_what_it_says_each_time(tmp_path: Path) -> None:
    texts = ["title: a\npages: [1]", "title: a\npages: [2]", "title: a\npages: [1]"]
    assert [read(tmp_path, text).pages for text in texts] == [(1,), (2,), (1,)]


def test_missing_file_is_refused_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(SiteConfigError, match="cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml", Drawing, SiteConfigError)


def test_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"title: \xff")
    with pytest.raises(SiteConfigError, match="it is not UTF-8 text"):
        read_yaml(tmp_path / "a.yaml", Drawing, SiteConfigError)


def test_mistake_names_the_field_and_not_the_value() -> None:
    with pytest.raises(SiteConfigError) as caught:
        parse({"title": "a", "copies": "a secret"}, Drawing, SiteConfigError, "drawing")
    assert "secret" not in str(caught.value)
