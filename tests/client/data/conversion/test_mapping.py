"""Which patients a mapping holds out: the same ones whatever else is in the source."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from client.data.conversion.mapping import SplitByColumn, SplitByFraction, SplitByPatients, Splitter
from privacy.errors import DataUnavailableError, SiteConfigError


def test_fraction_holds_out_about_that_share() -> None:
    splitter = Splitter(SplitByFraction(by="fraction", test=0.25), Path())
    held = sum(bool(splitter.is_held_out(f"p{number}")) for number in range(10_000))
    assert 2_300 < held < 2_700  # 4.6 standard deviations of a binomial


def test_fraction_with_another_salt_holds_out_others() -> None:
    first, second = (
        Splitter(SplitByFraction(by="fraction", test=0.5, salt=salt), Path()) for salt in ("", "again")
    )
    differing = sum(first.is_held_out(f"p{number}") != second.is_held_out(f"p{number}") for number in range(1000))
    assert 400 < differing < 600


@settings(max_examples=50, deadline=None)
@given(st.sets(st.text(min_size=1, max_size=8), min_size=1), st.sets(st.text(min_size=1, max_size=8)))
def test_fraction_with_more_patients_moves_none(patients: set[str], more: set[str]) -> None:
    split = SplitByFraction(by="fraction", test=0.3)
    alone, together = Splitter(split, Path()), Splitter(split, Path())
    before = {patient: alone.is_held_out(patient) for patient in patients}
    after = {patient: together.is_held_out(patient) for patient in sorted(patients | more, reverse=True)}
    assert before == {patient: after[patient] for patient in patients}


def test_column_decides_by_its_words_and_tells_of_others() -> None:
    split = SplitByColumn(by="column", name="fold", training=("a",), test=("b",))
    splitter = Splitter(split, Path())
    assert [splitter.is_held_out("p", word) for word in ("a", "b", "c")] == [False, True, None]
    with pytest.raises(SiteConfigError, match="no column 'fold' for each record"):
        splitter.is_held_out("p")


def test_column_with_a_word_in_both_lists_is_refused() -> None:
    with pytest.raises(ValidationError, match="words for training and for test: a"):
        SplitByColumn(by="column", name="fold", training=("a",), test=("a", "b"))


def test_list_of_patients_is_read_in_normal_form_and_counts_who_never_came(tmp_path: Path) -> None:
    (tmp_path / "held.txt").write_bytes("\ufeff00012\r\n Mu\u0308ller \n\nnobody\n".encode())
    splitter = Splitter(SplitByPatients(by="patients", test=Path("held.txt")), tmp_path)
    assert splitter.is_held_out("00012") is True
    assert splitter.is_held_out("M\u00fcller") is True
    assert splitter.is_held_out("12") is False  # leading zeros are kept
    assert splitter.count_unmet() == 1
    assert list(splitter.sources) == ["held.txt"]


def test_list_of_patients_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    split = SplitByPatients(by="patients", test=Path("held.txt"))
    with pytest.raises(DataUnavailableError, match=r"held\.txt: cannot be read: No such file"):
        Splitter(split, tmp_path)
    (tmp_path / "held.txt").write_bytes(b"\xff\xfe0")
    with pytest.raises(SiteConfigError, match="expected a text file in UTF-8"):
        Splitter(split, tmp_path)
    (tmp_path / "held.txt").write_bytes(b"\n \n")
    with pytest.raises(SiteConfigError, match="names no patient"):
        Splitter(split, tmp_path)
