"""Keys as people type them: what is mistyped is refused. The code is checked against BIP 350's own examples."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import WireError
from privacy.typed_keys import ALPHABET, BECH32M, compute_remainder, from_typed, to_typed

RAW = bytes(range(7, 39))
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def plain(text: str) -> str:
    return text.replace("-", "")


@given(st.binary(min_size=32, max_size=32))
def test_key_read_back_is_equal(raw: bytes) -> None:
    text = to_typed(raw)
    assert from_typed(text) == raw
    assert [len(group) for group in text.split("-")] == [5] * 12
    assert text.startswith("k1")


@pytest.mark.parametrize(
    "word",
    [
        "a1lqfn3a",
        "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
        "abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx",
        "split1checkupstagehandshakeupstreamerranterredcaperredlc445v",
    ],
)
def test_check_characters_are_those_of_bip_350(word: str) -> None:
    prefix, _, data = word.rpartition("1")
    values = [ord(each) >> 5 for each in prefix] + [0] + [ord(each) & 31 for each in prefix]
    assert compute_remainder(values + [BECH32.index(each) for each in data]) == BECH32M


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        lambda text: text.replace("-", " "),
        lambda text: text.replace("-", ""),
        lambda text: f"  {text}\n",
        lambda text: text.replace("0", "O").replace("1", "l"),
        lambda text: text.replace("1", "I"),
        lambda text: text.replace("0", "o").replace("1", "i"),
    ],
)
def test_key_typed_in_another_manner_is_taken(change: object) -> None:
    assert callable(change)
    assert from_typed(change(to_typed(RAW))) == RAW


def test_key_with_one_wrong_character_is_refused_whichever_it_is() -> None:
    right = plain(to_typed(RAW))
    for place, character in enumerate(right):
        for other in ALPHABET:
            if other != character:
                with pytest.raises(WireError, match="a key was mistyped"):
                    from_typed(right[:place] + other + right[place + 1 :])


def test_key_with_two_characters_or_groups_in_each_others_place_is_refused() -> None:
    right = plain(to_typed(RAW))
    for first, second in combinations(range(len(right)), 2):
        if right[first] != right[second]:
            swapped = list(right)
            swapped[first], swapped[second] = right[second], right[first]
            with pytest.raises(WireError, match="a key was mistyped"):
                from_typed("".join(swapped))
    groups = to_typed(RAW).split("-")
    for first, second in combinations(range(len(groups)), 2):
        exchanged = groups.copy()
        exchanged[first], exchanged[second] = groups[second], groups[first]
        with pytest.raises(WireError, match="a key was mistyped"):
            from_typed("-".join(exchanged))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "expected a key of 60 characters in groups of five .*, got 0 characters"),
        (to_typed(RAW)[:-1], "got 59 characters"),
        (to_typed(RAW) + "0", "got 61 characters"),
        ("D3HiAbCdEfGhIjKlMnOpQrStUvWxYz0123456789_-A", "'u' in it|'_' in it"),
        (to_typed(RAW)[:-1] + "é", "'é' in it"),
    ],
)
def test_what_is_no_key_is_refused_with_what_a_key_is(text: str, sentence: str) -> None:
    with pytest.raises(WireError, match=sentence):
        from_typed(text)


def test_key_whose_last_bits_are_not_empty_is_refused() -> None:
    values = [ALPHABET.index(each) for each in plain(to_typed(RAW))[:54]]
    values[-1] |= 1
    check = compute_remainder([*values, *[0] * 6]) ^ BECH32M
    values += [check >> 5 * place & 31 for place in reversed(range(6))]
    with pytest.raises(WireError, match="a key was mistyped"):
        from_typed("".join(ALPHABET[value] for value in values))
