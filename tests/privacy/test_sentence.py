"""What another party makes a sentence of is cut and made plain before it is stored or sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from privacy.sentence import MAX_SENTENCE, Sentence, fit_sentence

SENTENCE: TypeAdapter[str] = TypeAdapter(Sentence)


@given(st.text(st.characters(), max_size=50) | st.integers(1990, 2010).map(lambda length: "é" * length))
def test_sentence_of_any_text_is_one(text: str) -> None:
    assert SENTENCE.validate_python(fit_sentence(text)) == fit_sentence(text)


def test_plain_sentence_stays_as_it_is() -> None:
    text = "2 mistakes:\n  - model.options: unknown key — é"
    assert fit_sentence(text) == text
    assert fit_sentence("x" * MAX_SENTENCE) == "x" * MAX_SENTENCE


def test_sentence_that_is_too_long_is_cut_and_says_so() -> None:
    assert fit_sentence("x" * 100_000) == "x" * (MAX_SENTENCE - 6) + " [cut]"


def test_control_characters_and_halves_of_surrogates_become_spaces() -> None:
    assert fit_sentence("\x1b[31mred\x9b\t\x00\ud800!") == " [31mred    !"


def test_nothing_said_is_said() -> None:
    assert fit_sentence("") == "no reason given"


@pytest.mark.parametrize("text", ["", "\x1b[2J", "\x07", "a\rb", "\x9b31m", "x" * (MAX_SENTENCE + 1)])
def test_other_text_is_no_sentence(text: str) -> None:
    with pytest.raises(ValidationError):
        SENTENCE.validate_python(text)
