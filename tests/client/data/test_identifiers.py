"""One patient, one name: what is the same, what is not, and that both forms are stable."""

import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.data.identifiers import count_alike, fold, is_usable, normalise

UNSEEN = ["\ufeff", "\u200b", "\u200d", "\u2060", "\u00ad", "\u200e", "\ufe0f"]
SPACES = [" ", "\t", "\u00a0", "\u2003", "\u3000", "\r\n"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@pytest.mark.parametrize(
    ("word", "normal"),
    [
        ("P-0012", "P-0012"),
        ("  P 12\t", "P 12"),
        ("P\u00a0\u00a0 12", "P 12"),
        ("Mu\u0308ller", "Müller"),  # one letter in two pieces
        ("\uff30\uff11\uff12", "P12"),  # full-width
        ("\u0661\u0662", "12"),  # Arabic digits
        ("\ufeffP1", "P1"),
        ("P\u200b1\u00ad", "P1"),
        ("\ufb01-1", "fi-1"),  # a ligature
        ("0012", "0012"),
        ("a1", "a1"),
        ("=cmd", "=cmd"),
    ],
)
def test_normal_form_of_a_written_identifier(word: str, normal: str) -> None:
    assert normalise(word) == normal
    assert is_usable(normal)


@pytest.mark.parametrize("word", ["", "   ", "\ufeff", "\u200b \u00a0", "P\x001", "P\x07", "\udcff1", "\x7f"])
def test_identifier_that_names_nobody_is_not_usable(word: str) -> None:
    assert not is_usable(normalise(word))


@pytest.mark.parametrize(
    "alike",
    [
        ("00012", "12", "12.0", "012.", "12,0", "12.00", "'12", '="0012"', "\uff11\uff12"),
        ("0", "000", "0.0"),
        ("P-1017", "p-1017", "P\u20131017", "p\u20101017", "P - 1017"),
        ("Straße 1", "STRASSE 1"),
    ],
)
def test_spellings_that_programs_make_of_one_patient_fold_to_one_form(alike: tuple[str, ...]) -> None:
    assert len({fold(normalise(each)) for each in alike}) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("12", "120"), ("P12", "P012"), ("12.5", "12"), ("12.000", "12"), ("1-2", "12"), ("", "0")]
)
def test_spellings_of_two_patients_do_not_fold_to_one_form(one: str, other: str) -> None:
    assert fold(normalise(one)) != fold(normalise(other))


@given(TEXTS)
def test_both_forms_are_stable(text: str) -> None:
    normal = normalise(text)
    assert normalise(normal) == normal
    assert fold(fold(normal)) == fold(normal)


@given(TEXTS, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_normal_form_is_the_same_in_every_unicode_form(
    text: str, form: Literal["NFC", "NFD", "NFKC", "NFKD"]
) -> None:
    assert normalise(unicodedata.normalize(form, text)) == normalise(text)


@given(st.lists(st.sampled_from("aZé9-üß"), min_size=1), st.data())
def test_normal_form_does_not_see_what_nobody_sees(letters: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(letters)))
    unseen = data.draw(st.sampled_from(UNSEEN))
    around = data.draw(st.sampled_from(SPACES))
    written = around + "".join([*letters[:place], unseen, *letters[place:]]) + around
    assert normalise(written) == normalise("".join(letters))


@given(st.integers(0, 10**12), st.integers(0, 9), st.sampled_from(["", ".0", ".00", ",0", "."]))
def test_whole_number_folds_to_itself_however_it_is_written(number: int, zeros: int, end: str) -> None:
    assert fold(normalise("0" * zeros + str(number) + end)) == str(number)


def test_alike_identifiers_are_counted() -> None:
    assert count_alike({"12", "0012", "13", "P1", "p1", "p-1"}) == 4
    assert count_alike({"12", "13"}) == 0
