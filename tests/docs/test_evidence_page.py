"""``docs/security/evidence.md`` shows the bytes that the program writes and reads."""

from pathlib import Path

from privacy.ledger.evidence import Evidence, EvidencePack, read_evidence
from tests.docs.evidence_example import example_pack
from tests.docs.pages import ROOT, blocks
from tests.privacy.ledger_makers import KEY

PAGE = ROOT / "docs" / "security" / "evidence.md"


def test_example_is_what_the_program_writes_and_reads(tmp_path: Path) -> None:
    (shown,) = blocks(PAGE, "json")
    assert shown == example_pack().to_bytes().decode() + "\n", (
        "print it anew: python -m tests.docs.evidence_example"
    )
    (tmp_path / "north.json").write_text(shown)
    assert read_evidence(tmp_path / "north.json", KEY.public)[1].site == "north"
    assert KEY.public.typed in PAGE.read_text(encoding="utf-8")


def test_page_names_every_field_and_the_label() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for kind in (Evidence, EvidencePack):
        assert [field for field in kind.model_fields if f"`{field}`" not in text] == []
    assert f"`{Evidence.label}`" in text
