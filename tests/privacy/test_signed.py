"""Signed statements: whoever relays one changes nothing."""

from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from privacy.errors import WireError
from privacy.signed import Signed, Statement
from tests.privacy.launch_makers import key_number


class Claim(Statement):
    label: ClassVar[str] = "test claim v1"
    what: str
    count: int = 0


class OtherClaim(Claim):
    label: ClassVar[str] = "test other claim v1"


def test_statement_is_returned_when_its_signature_holds() -> None:
    signed = Signed[Claim].sign(key_number(1), Claim(what="here"))
    assert Signed[Claim].model_validate_json(signed.to_bytes()).verify(key_number(1).public) == Claim(what="here")


def test_signature_covers_label_and_canonical_bytes() -> None:
    assert Claim(what="é", count=2).make_signing_bytes() == b'test claim v1\0{"count":2,"what":"\xc3\xa9"}'


def test_statement_that_was_changed_is_refused() -> None:
    signed = Signed[Claim].sign(key_number(1), Claim(what="here"))
    for update in ({"what": "there"}, {"count": 1}):
        changed = signed.model_copy(update={"statement": signed.statement.model_copy(update=update)})
        with pytest.raises(WireError, match="a signature is not by the key"):
            changed.verify(key_number(1).public)


def test_statement_by_another_is_refused() -> None:
    with pytest.raises(WireError, match="a signature is not by the key"):
        Signed[Claim].sign(key_number(2), Claim(what="here")).verify(key_number(1).public)


def test_signature_of_one_kind_does_not_pass_for_another() -> None:
    signature = Signed[Claim].sign(key_number(1), Claim(what="here")).signature
    other = Signed[OtherClaim](statement=OtherClaim(what="here"), signature=signature)
    with pytest.raises(WireError, match="a signature is not by the key"):
        other.verify(key_number(1).public)


@pytest.mark.parametrize("signature", ["A" * 86, "!" * 86, "é" * 86])
def test_text_that_is_no_signature_is_refused(signature: str) -> None:
    with pytest.raises(WireError, match="a signature is not"):
        Signed[Claim](statement=Claim(what="here"), signature=signature).verify(key_number(1).public)


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
SIGNED = Signed[Claim].sign(key_number(1), Claim(what="here"))


@pytest.mark.parametrize("last", sorted(set(ALPHABET) - {SIGNED.signature[-1]}))
def test_signature_with_another_last_character_is_refused(last: str) -> None:
    """The last character has four unused bits: 15 of these decode to the same 64 bytes."""
    with pytest.raises(WireError, match="a signature is not"):
        SIGNED.model_copy(update={"signature": SIGNED.signature[:-1] + last}).verify(key_number(1).public)


@given(st.lists(st.tuples(st.integers(0, 85), st.sampled_from([*ALPHABET, "+", "/", "=", " ", "\n"])), min_size=1))
def test_any_other_text_of_a_signature_is_refused(changes: list[tuple[int, str]]) -> None:
    """Two texts of one signature would be two digests of what holds it, so two launches of one order."""
    text = list(SIGNED.signature)
    for place, character in changes:
        text[place] = character
    other = SIGNED.model_copy(update={"signature": "".join(text)})
    if other == SIGNED:
        assert other.verify(key_number(1).public) == SIGNED.statement
        return
    with pytest.raises(WireError, match="a signature is not"):
        other.verify(key_number(1).public)


def test_signature_in_the_other_alphabet_of_base64_is_refused() -> None:
    claims = (Signed[Claim].sign(key_number(1), Claim(what="here", count=count)) for count in range(100))
    signed = next(each for each in claims if {"-", "_"} & set(each.signature))
    other = signed.signature.replace("-", "+").replace("_", "/")
    with pytest.raises(WireError, match="a signature is not 64 bytes in base64url"):
        signed.model_copy(update={"signature": other}).verify(key_number(1).public)


def test_signature_of_another_length_is_no_signature() -> None:
    with pytest.raises(ValidationError, match="at least 86"):
        Signed[Claim](statement=Claim(what="here"), signature="A" * 85)
