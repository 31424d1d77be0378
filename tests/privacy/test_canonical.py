"""One value, one way to write it down."""

import contextlib
import json

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.canonical import compute_digest, compute_sha256, from_canonical, to_canonical
from privacy.errors import WireError

SAFE = 2**53 - 1
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-SAFE, SAFE)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@settings(max_examples=50)
@given(JSON)
def test_canonical_form_read_back_is_the_same_value(value: object) -> None:
    data = to_canonical(value)  # type: ignore[arg-type]
    assert from_canonical(data) == value
    assert json.loads(data, parse_int=float) == value


@settings(max_examples=300)
@given(JSON | st.floats(1e-8, 1e-2) | st.floats(1e14, 1e22) | st.integers(-SAFE, SAFE).map(float))
def test_canonical_form_is_that_of_the_reference_library(value: object) -> None:
    """Most values are written by Python's own encoder; the library is the oracle for each of them."""
    assert to_canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", [chr(code) for code in [*range(0x21), 0x22, 0x5C, 0x7F, 0x85, 0x2028, 0xFFFF, 0x1F600]]
)
def test_every_character_is_escaped_as_by_the_reference_library(text: str) -> None:
    assert to_canonical({"a": text}) == rfc8785.dumps({"a": text})


def test_canonical_form_of_the_rfc_example() -> None:
    """RFC 8785, sections 3.2.2 and 3.2.3."""
    value = json.loads(
        r"""{
          "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
          "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
          "literals": [null, true, false]
        }"""
    )
    assert to_canonical(value).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_keys_are_sorted_by_utf16_units() -> None:
    """RFC 8785, section 3.2.3: a surrogate pair comes before U+FB33."""
    value = {"\ufb33": 1, "\U0001f600": 2, "\u20ac": 3, "1": 4, "\r": 5}
    assert list(json.loads(to_canonical(value))) == ["\r", "1", "\u20ac", "\U0001f600", "\ufb33"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, {1: "a key that is no text"}, "\ud800"])
def test_value_without_a_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(WireError, match="has no canonical JSON form"):
        to_canonical(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b"1.0",
        b"1e2",
        b'"\\u0041"',
        b"1\n",
        b'\xef\xbb\xbf"a"',
        b"-0",
    ],
)
def test_json_written_in_another_way_is_refused(data: bytes) -> None:
    with pytest.raises(WireError, match=r"expected canonical JSON"):
        from_canonical(data)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"nothing", b"[" * 100_000, b"1" * 5000])
def test_bytes_that_are_no_json_are_refused_without_being_shown(data: bytes) -> None:
    with pytest.raises(WireError, match=f"got {len(data)} bytes that are not JSON"):
        from_canonical(data)


def test_digest_is_the_sha256_of_the_canonical_form() -> None:
    assert (
        compute_sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )  # FIPS 180-4
    assert compute_digest({"b": 1, "a": [1.0]}) == compute_sha256(b'{"a":[1],"b":1}')


TEXT = st.text(st.characters()) | st.sampled_from(["\ud800", "\udfff\ud800", "\0", "a\ud800"])
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=3) | st.just(object()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXT | st.integers() | st.none(), inner, max_size=3)
        | st.sets(st.integers(), max_size=2)
    ),
    max_leaves=8,
)


@settings(max_examples=200)
@given(ODD)
def test_any_value_has_a_canonical_form_or_is_refused_as_a_message(value: object) -> None:
    with contextlib.suppress(WireError):
        to_canonical(value)  # type: ignore[arg-type]


@settings(max_examples=200)
@given(st.binary(max_size=40) | ODD.map(lambda value: json.dumps(value, default=str, skipkeys=True).encode()))
def test_any_bytes_are_read_or_refused_as_a_message(data: bytes) -> None:
    with contextlib.suppress(WireError):
        assert to_canonical(from_canonical(data)) == data


@pytest.mark.parametrize("depth", [100, 500, 900, 990, 2000, 50_000])
@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"a":', "}")])
def test_nesting_of_any_depth_is_read_or_refused_as_a_message(depth: int, left: str, right: str) -> None:
    with contextlib.suppress(WireError):
        from_canonical((left * depth + "1" + right * depth).encode())


@pytest.mark.parametrize("data", [b'{"\\ud800":1}', b'{"a":{"\\udc00b":1}}', b'["\\ud800"]', b'{"\xed\xa0\x80":1}'])
def test_half_of_a_surrogate_pair_is_refused_as_a_message(data: bytes) -> None:
    with pytest.raises(WireError):
        from_canonical(data)


def test_whole_number_of_absurd_length_is_refused_as_a_message() -> None:
    with pytest.raises(WireError):
        to_canonical(10**5000)
