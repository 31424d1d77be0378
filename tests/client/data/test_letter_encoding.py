"""Letters become numbers as the contract says: every rule against a loop that is written out here."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from client.data.letter_encoding import PAD, LetterEncoder, UnusableLettersError, complement, find_window
from privacy.study.data.letters import Letters

SHARES = {
    "A": "A", "C": "C", "G": "G", "T": "T", "U": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT", "X": "ACGT", "-": "", ".": "",
}  # fmt: skip


def letters(**keys: object) -> Letters:
    return Letters.model_validate({"name": "signals", "alphabet": "dna", "length": 8, "encoded": "one-hot"} | keys)


def encode_plainly(text: str, wanted: Letters) -> NDArray[np.float32]:
    """The oracle for one-hot DNA: one letter after another."""
    rows = 5 if wanted.unknown == "own" else 4
    out = np.zeros((rows, wanted.length), dtype=np.float32)
    spare = len(text) - wanted.length
    begin = {"start": 0, "middle": spare // 2, "end": spare}[wanted.keep] if spare > 0 else 0
    shift = {"start": 0, "middle": -spare // 2, "end": -spare}[wanted.keep] if spare < 0 else 0
    for place, letter in enumerate(text[begin : begin + wanted.length]):
        bases = SHARES[letter.upper()]
        if letter.islower() and wanted.lower_case == "unknown":
            bases = "ACGT" if letter.upper() in "ACGTUX" else bases
            known = False
        else:
            known = len(bases) == 1 and letter.upper() in "ACGTU"
        if known:
            out["ACGT".index(bases), place + shift] = 1
        elif wanted.unknown == "own":
            out[4, place + shift] = 1
        elif wanted.unknown == "shares":
            for base in bases:
                out["ACGT".index(base), place + shift] = 1 / len(bases)
    return out


@given(
    st.text("ACGTURYSWKMBDHVNX-.acgtun", min_size=1, max_size=20),
    st.sampled_from(["start", "middle", "end"]),
    st.sampled_from(["zero", "own", "shares"]),
    st.sampled_from(["capital", "unknown"]),
)
def test_one_hot_of_any_letters_is_what_a_loop_gives(text: str, keep: str, unknown: str, lower: str) -> None:
    wanted = letters(keep=keep, unknown=unknown, lower_case=lower)
    np.testing.assert_allclose(LetterEncoder(wanted).encode(text), encode_plainly(text, wanted), rtol=1e-6)


def test_one_hot_by_hand() -> None:
    found = LetterEncoder(letters(length=5)).encode("ACgN")
    assert found.tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("text", "keep", "expected"),
    [
        ("ACG", "start", [1, 2, 3, 0, 0, 0]),
        ("ACG", "end", [0, 0, 0, 1, 2, 3]),
        ("ACG", "middle", [0, 1, 2, 3, 0, 0]),
        ("AAACCCGGG", "start", [1, 1, 1, 2, 2, 2]),
        ("AAACCCGGG", "end", [2, 2, 2, 3, 3, 3]),
        ("AAACCCGGG", "middle", [1, 1, 2, 2, 2, 3]),
    ],
)
def test_ids_are_cut_and_padded_as_the_contract_says(text: str, keep: str, expected: list[int]) -> None:
    assert LetterEncoder(letters(encoded="ids", length=6, keep=keep)).encode(text).tolist() == expected


def test_unknown_letter_has_the_id_that_the_contract_says() -> None:
    zero, own = (LetterEncoder(letters(encoded="ids", length=3, unknown=each)) for each in ("zero", "own"))
    assert (zero.encode("ANT").tolist(), own.encode("ANT").tolist()) == ([1, 0, 4], [1, 5, 4])
    with pytest.raises(UnusableLettersError, match="unknown letter, which the contract refuses"):
        LetterEncoder(letters(unknown="refuse")).encode("ANT")


def test_dna_and_rna_are_one_alphabet() -> None:
    dna, rna = (LetterEncoder(letters(alphabet=each)).encode("ACGTUacgtu"[:8]) for each in ("dna", "rna"))
    assert (dna == rna).all()
    assert dna[3].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("alphabet", "text"),
    [
        ("dna", "ACGE"),
        ("dna", "MKVLAAGIVGLLLAQ"),
        ("dna", "AC GT"),
        ("dna", "AC>T"),
        ("dna", "ACG\u0422"),
        ("protein", "MK1"),
        ("smiles", "C C"),
        ("smiles", "C\u00a0C"),
    ],
)
def test_letters_of_another_alphabet_are_refused_without_them(alphabet: str, text: str) -> None:
    with pytest.raises(UnusableLettersError) as refused:
        LetterEncoder(letters(alphabet=alphabet, encoded="ids")).encode(text)
    assert str(refused.value) == f"has a character that is no letter of {alphabet}"


def test_no_letters_are_refused() -> None:
    with pytest.raises(UnusableLettersError, match="has no letters"):
        LetterEncoder(letters()).encode("")


def test_smiles_keep_their_case_and_have_deepdtas_numbers() -> None:
    encoder = LetterEncoder(letters(alphabet="smiles", encoded="ids", length=5))
    alphabet = "#%()+-./0123456789=@ABCDEFGHIKLMNOPRSTUVWYZ[\\]abcdefghilmnorstuy"
    assert encoder.encode("cC*n").tolist() == [
        1 + alphabet.index("c"),
        1 + alphabet.index("C"),
        0,
        1 + alphabet.index("n"),
        0,
    ]
    assert len(alphabet) == 64


def test_padding_in_the_letters_is_no_letter() -> None:
    assert LetterEncoder(letters(encoded="ids", length=4, unknown="own")).encode(PAD + "AC" + PAD).tolist() == [
        0,
        1,
        2,
        0,
    ]


@given(st.text("ACGTRYSWKMBDHVNacgtn-", max_size=30))
def test_reverse_complement_twice_is_the_sequence(text: str) -> None:
    assert complement(complement(text)) == text


def test_reverse_complement_of_a_code_stands_for_the_complements() -> None:
    pairs = {"A": "T", "T": "A", "C": "G", "G": "C"}
    for code, bases in SHARES.items():
        if code.isalpha() and code not in "UX":
            assert sorted(SHARES[complement(code)]) == sorted(pairs[base] for base in bases)


@given(st.integers(1, 50), st.integers(1, 50), st.sampled_from(["start", "middle", "end"]))
def test_window_lies_within_both(count: int, length: int, keep: str) -> None:
    begin, place = find_window(count, length, keep)  # type: ignore[arg-type]
    kept = min(count, length)
    assert 0 <= begin <= count - kept
    assert 0 <= place <= length - kept
