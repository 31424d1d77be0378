"""Numbers are read as the mapping says that they are written, and in no other way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.data.conversion.numbers import NumberForm, PointWatch, read_written_number

GERMAN = NumberForm(",", ".")


@pytest.mark.parametrize(
    ("word", "form", "number"),
    [
        ("12.5", NumberForm(), 12.5),
        ("12,5", NumberForm(), None),
        ("1e3", NumberForm(), 1000.0),
        ("nan", NumberForm(), None),
        ("1_000", NumberForm(), None),
        ("12,5", NumberForm(","), 12.5),
        ("12.5", NumberForm(","), None),
        ("-0,5", NumberForm(","), -0.5),
        ("1.234,5", GERMAN, 1234.5),
        ("1.234.567", GERMAN, 1234567.0),
        ("1.23", GERMAN, None),
        ("1.2345", GERMAN, None),
        ("12.34.567", GERMAN, None),
        ("1234,5", GERMAN, 1234.5),
        ("12,345.5", GERMAN, None),
        ("1'234.5", NumberForm(".", "'"), 1234.5),
        ("1 234", NumberForm(",", " "), 1234.0),
        ("1,234.5", NumberForm(".", ","), 1234.5),
        ("<5", NumberForm(), None),
        ("<5", NumberForm(limits=True), 5.0),
        (">= 0,5", NumberForm(",", limits=True), 0.5),
        ("\u22645", NumberForm(limits=True), 5.0),
        ("<<5", NumberForm(limits=True), None),
        ("12 mg", NumberForm(), None),
        ("", NumberForm(), None),
    ],
)
def test_number_is_read_only_as_its_form_says(word: str, form: NumberForm, number: float | None) -> None:
    assert read_written_number(word, form) == number


@given(st.integers(-(10**12), 10**12), st.integers(0, 99))
def test_number_written_with_signs_between_thousands_is_read_back(whole: int, hundredths: int) -> None:
    english = f"{whole:,}.{hundredths:02}"
    german = english.translate(str.maketrans(",.", ".,"))
    expected = float(f"{whole}.{hundredths:02}")
    assert read_written_number(english, NumberForm(".", ",")) == expected
    assert read_written_number(german, GERMAN) == expected
    assert read_written_number(english.replace(",", ""), NumberForm()) == expected


@given(
    st.text(max_size=12), st.sampled_from([NumberForm(), GERMAN, NumberForm(",", " ", True), NumberForm(".", "'")])
)
def test_any_text_gives_a_finite_number_or_none(word: str, form: NumberForm) -> None:
    number = read_written_number(word, form)
    assert number is None or abs(number) < float("inf")


@pytest.mark.parametrize(
    ("words", "is_doubtful"),
    [
        (["1.234", "2.500", "900"], True),
        (["1.234.567", "1.200"], True),
        (["1.234", "2.5"], False),
        (["0.125"], False),
        (["12", "13"], False),
        (["x.123"], False),
    ],
)
def test_points_that_may_all_stand_between_thousands_are_noticed(words: list[str], is_doubtful: bool) -> None:
    watch = PointWatch()
    watch.look_at(words)
    assert watch.is_doubtful is is_doubtful
