"""Codes have one normal form, and what can be read in two ways is no code."""

import csv
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.study.data.code_systems import list_every, normalise_beginning, normalise_code
from tests.client.data.conversion.converting import SHARED

SYSTEMS = ["icd9cm", "icd10cm", "icd10", "atc", "ndc", "loinc", "snomed", "rxnorm", "cvx", "ccs", "other"]


@pytest.mark.parametrize(
    ("system", "written", "normal"),
    [
        ("icd9cm", "250.00", "25000"),
        ("icd9cm", "25000", "25000"),
        ("icd9cm", "038.1", "0381"),  # the zero is kept
        ("icd9cm", "v58.67", "V5867"),
        ("icd9cm", "E812.0", "E8120"),
        ("icd10cm", "E11.9", "E119"),
        ("icd10cm", " e11.9 ", "E119"),
        ("icd10cm", "C4A.9", "C4A9"),
        ("icd10", "E11.9†", "E119"),
        ("icd10", "G63.2*", "G632"),
        ("atc", "a10ba02", "A10BA02"),
        ("ndc", "0002-8215-01", "00002821501"),  # 4-4-2
        ("ndc", "12345-678-90", "12345067890"),  # 5-3-2
        ("ndc", "12345-6789-0", "12345678900"),  # 5-4-1
        ("loinc", "4548-4", "4548-4"),
        ("snomed", "44054006", "44054006"),
        ("rxnorm", "0860975", "860975"),
        ("other", " GLU  fasting ", "GLU fasting"),
        ("other", "\uff21\uff11", "A1"),  # full width
    ],
)
def test_code_in_any_writing_has_one_normal_form(system: str, written: str, normal: str) -> None:
    assert normalise_code(system, written) == normal


@pytest.mark.parametrize(
    ("system", "written"),
    [
        ("icd9cm", "8"),  # 008 without its zeros, or part of another code
        ("icd9cm", "E11.9"),
        ("icd10cm", "250.00"),
        ("icd10cm", "E1"),
        ("atc", "A1"),
        ("ndc", "0002821501"),  # ten digits: in which part is one missing?
        ("loinc", "4548-5"),  # the check digit is 4
        ("snomed", "44054007"),
        ("snomed", "1121000119106"),
        ("rxnorm", "12.0"),
        ("other", "  "),
        ("other", "a\x00b"),
    ],
)
def test_code_of_another_form_is_none(system: str, written: str) -> None:
    assert normalise_code(system, written) is None


@pytest.mark.parametrize(
    ("written", "normal"), [("8", "008"), ("38", "038"), ("38.1", "0381"), ("250.83", "25083"), ("V58", "V58")]
)
def test_code_with_zeros_cut_gets_them_back(written: str, normal: str) -> None:
    assert normalise_code("icd9cm", written, zeros_cut=True) == normal


@given(st.sampled_from(SYSTEMS), st.text(max_size=30))
def test_normal_form_is_its_own_normal_form(system: str, text: str) -> None:
    normal = normalise_code(system, text)
    assert normal is None or normalise_code(system, normal) == normal


@given(st.from_regex(r"[1-9][0-9]{6}", fullmatch=True), st.integers(0, 6), st.integers(1, 9))
def test_loinc_with_one_wrong_digit_is_none(digits: str, place: int, change: int) -> None:
    """The oracle is the definition: some digit completes the number, and only one does."""
    fitting = [str(check) for check in range(10) if normalise_code("loinc", f"{digits}-{check}")]
    assert len(fitting) == 1
    wrong = digits[:place] + str((int(digits[place]) + change) % 10) + digits[place + 1 :]
    assert wrong.startswith("0") or normalise_code("loinc", f"{wrong}-{fitting[0]}") is None


@given(st.from_regex(r"[1-9][0-9]{7}", fullmatch=True), st.integers(0, 6))
def test_snomed_with_two_digits_exchanged_is_none(digits: str, place: int) -> None:
    """Verhoeff's check finds every exchange of neighbours."""
    whole = next(digits + str(check) for check in range(10) if normalise_code("snomed", digits + str(check)))
    if whole[place] != whole[place + 1] and not (place == 0 and whole[1] == "0"):
        exchanged = whole[:place] + whole[place + 1] + whole[place] + whole[place + 2 :]
        assert normalise_code("snomed", exchanged) is None


def test_vocabularies_by_rule_are_those_of_their_systems() -> None:
    categories = list_every("icd9cm-categories")
    assert len(categories) == len(set(categories)) == 1300
    assert (categories[8], categories[1058], categories[1112]) == ("008", "V58", "E812")
    for rule, system in (("icd9cm-categories", "icd9cm"), ("icd10-categories", "icd10cm"), ("atc-2", "atc")):
        assert all(normalise_code(system, word) == word for word in list_every(rule))
    assert len(list_every("atc-1")) == 14


def test_beginning_of_a_code_counts_in_a_hierarchy_only() -> None:
    assert normalise_beginning("icd9cm", "25") == "25"
    assert normalise_beginning("atc", "A10") == "A10"
    assert normalise_beginning("rxnorm", "x") is None


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
@pytest.mark.parametrize("name", ["icd9toicd10cmgem", "icd10cmtoicd9gem"])
def test_all_published_codes_are_codes(name: str) -> None:
    with gzip.open(SHARED / "icd" / f"{name}.csv.gz", "rt") as lines:
        for row in csv.DictReader(lines):
            assert normalise_code("icd9cm", row["icd9cm"]) or row["icd9cm"] == "NoDx"
            assert normalise_code("icd10cm", row["icd10cm"]) or row["icd10cm"] == "NoDx"
