"""Lists of a consortium's members and revocations: what is read, what is signed, what is refused."""

from typing import Any

import pytest

from privacy.canonical import from_canonical
from privacy.consortium import (
    Member,
    MemberList,
    Revocation,
    SignedList,
    SignedRevocation,
    merge_revocations,
    verify_list,
    verify_revocation,
)
from privacy.document import parse
from privacy.errors import SiteConfigError, WireError
from privacy.keys import SigningKey
from privacy.signed import Signed
from tests.privacy.launch_makers import key_number

HOLDER = key_number(40)


def member(name: str, number: int, **changes: str) -> Member:
    fields = {"name": name, "identity": key_number(number).public.text, "valid_from": "2026-01-01"}
    return Member.model_validate({**fields, "valid_until": "2026-12-31", **changes})


def revocation(name: str, number: int, day: str = "2026-03-01", key: SigningKey = HOLDER) -> SignedRevocation:
    text = key_number(number).public.text
    return SignedRevocation.sign(
        key, Revocation(consortium="trees", name=name, identity=text, day=day, reason="its laptop was stolen")
    )


def member_list(
    *members: Member,
    number: int = 1,
    key: SigningKey = HOLDER,
    revoked: tuple[SignedRevocation, ...] = (),
    **changes: Any,
) -> SignedList:
    fields = {"consortium": "trees", "issued": "2026-01-01", "valid_until": "2026-12-31", **changes}
    return SignedList.sign(key, MemberList(number=number, members=members, revoked=revoked, **fields))


def test_list_is_read_back_as_it_was_signed() -> None:
    signed = member_list(member("birch", 3), member("cedar", 4), revoked=(revocation("elm", 5),))
    read = parse(from_canonical(signed.to_bytes()), SignedList, SiteConfigError, "the list")
    assert verify_list(read, "trees", HOLDER.public) == signed.statement


@pytest.mark.parametrize("change", ["number", "valid_until", "members", "revoked", "issued", "consortium"])
def test_list_with_any_field_changed_is_refused(change: str) -> None:
    signed = member_list(member("birch", 3), member("cedar", 4), revoked=(revocation("elm", 5),))
    values = {
        "number": 2, "valid_until": "2027-12-31", "members": signed.statement.members[:1], "revoked": (),
        "issued": "2026-01-02", "consortium": "woods",
    }  # fmt: skip
    changed = SignedList(
        statement=signed.statement.model_copy(update={change: values[change]}), signature=signed.signature
    )
    with pytest.raises(WireError):
        verify_list(changed, "trees", HOLDER.public)


def test_list_and_revocation_of_another_key_or_consortium_are_refused() -> None:
    with pytest.raises(WireError, match="is not by the key"):
        verify_list(member_list(key=key_number(41)), "trees", HOLDER.public)
    with pytest.raises(WireError, match="expected a list of 'woods', got one of 'trees'"):
        verify_list(member_list(), "woods", HOLDER.public)
    with pytest.raises(WireError, match="is not by the key"):
        verify_list(member_list(revoked=(revocation("elm", 5, key=key_number(41)),)), "trees", HOLDER.public)
    with pytest.raises(WireError, match="expected a revocation by 'woods'"):
        verify_revocation(revocation("elm", 5), "woods", HOLDER.public)


def test_signature_of_a_revocation_is_none_of_a_list() -> None:
    """Labels differ: a holder who signs one kind has not signed the other."""
    signed, other = member_list(), revocation("elm", 5)
    with pytest.raises(WireError):
        Signed[MemberList](statement=signed.statement, signature=other.signature).verify(HOLDER.public)


@pytest.mark.parametrize(
    ("members", "changes", "words"),
    [
        ((("birch", 3), ("birch", 4)), {}, "two members have the same name"),
        ((("birch", 3), ("cedar", 3)), {}, "two members have the same key"),
        ((("birch", 3),), {"revoked": (revocation("birch", 3),)}, "the key of the member 'birch' is revoked"),
        ((("birch", 3),), {"issued": "2027-01-01"}, "ends before"),
        ((("birch", 3),), {"valid_until": "2026-02-31"}, "valid_until"),
    ],
)
def test_list_that_contradicts_itself_is_no_list(
    members: tuple[tuple[str, int], ...], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        member_list(*(member(name, number) for name, number in members), **changes)


def test_member_with_no_day_or_no_key_is_none() -> None:
    with pytest.raises(ValueError, match="no day at all"):
        member("birch", 3, valid_from="2027-01-01")
    with pytest.raises(ValueError, match="identity"):
        member("birch", 3, identity="A" * 42 + "B")  # the last character has bits that no key has


def test_revocations_are_only_ever_added() -> None:
    first, again, other = revocation("elm", 5), revocation("elm", 5, day="2026-05-01"), revocation("oak", 6)
    assert merge_revocations([first], [again, other]) == (first, other)
