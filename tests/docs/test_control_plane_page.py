"""The page of the control plane shows the code's own table of rights."""

from tests.docs.control_plane import PAGE, insert_calls


def test_table_of_calls_is_the_codes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert insert_calls(page) == page, "run: python -m tests.docs.control_plane"
