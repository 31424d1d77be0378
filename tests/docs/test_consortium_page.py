"""``docs/consortium.md`` shows the bytes that the program writes and reads."""

from privacy.canonical import from_canonical
from privacy.consortium import MAX_MEMBERS, Member, MemberList, Revocation, SignedList, verify_list
from privacy.document import parse
from privacy.errors import SiteConfigError
from tests.docs.consortium_example import HOLDER_KEY, example_list
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "consortium.md"


def test_example_is_what_the_program_writes_and_reads() -> None:
    (shown,) = blocks(PAGE, "json")
    assert shown == example_list().to_bytes().decode() + "\n"
    read = parse(from_canonical(shown.strip().encode()), SignedList, SiteConfigError, "the example")
    assert verify_list(read, "trees", HOLDER_KEY.public).members[0].name == "north"
    assert HOLDER_KEY.public.typed in PAGE.read_text(encoding="utf-8")


def test_page_names_every_field_label_and_limit() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for kind in (MemberList, Member, Revocation):
        assert all(f"`{field}`" in text for field in kind.model_fields)
    assert f"`{MemberList.label}`" in text
    assert f"`{Revocation.label}`" in text
    assert f"{MAX_MEMBERS:,} members" in text
