"""The measured table of the privacy systems is what was measured."""

from tests.docs.privacy_systems import PAGE, page


def test_table_is_what_was_measured() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m tests.docs.privacy_systems"
