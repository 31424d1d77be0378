"""The example of ``docs/consortium.md``: ``python -m tests.docs.consortium_example`` prints it."""

from privacy.consortium import Member, MemberList, Revocation, SignedList, SignedRevocation
from tests.privacy.launch_makers import key_number

HOLDER_KEY = key_number(40)


def example_list() -> SignedList:
    """The second list of the consortium ``trees``: ``north`` is a member, an earlier key of ``south`` is revoked."""
    revocation = Revocation(
        consortium="trees",
        name="south",
        identity=key_number(5).public.text,
        day="2026-03-01",
        reason="its machine was stolen",
    )
    member = Member(
        name="north", identity=key_number(3).public.text, valid_from="2026-01-01", valid_until="2026-12-31"
    )
    statement = MemberList(
        consortium="trees",
        number=2,
        issued="2026-03-02",
        valid_until="2026-12-31",
        members=(member,),
        revoked=(SignedRevocation.sign(HOLDER_KEY, revocation),),
    )
    return SignedList.sign(HOLDER_KEY, statement)


def main() -> None:
    """Print the example."""
    print(example_list().to_bytes().decode())  # noqa: T201 - a tool for whoever edits the page


if __name__ == "__main__":
    main()
