"""Signed statements: whoever relays one changes nothing."""

from typing import ClassVar

import pytest
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


def test_signature_of_another_length_is_no_signature() -> None:
    with pytest.raises(ValidationError, match="at least 86"):
        Signed[Claim](statement=Claim(what="here"), signature="A" * 85)
