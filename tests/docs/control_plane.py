"""Write the table of calls into ``docs/control-plane.md``: ``python -m tests.docs.control_plane``."""

from typing import Final

from privacy.control.calls import CALLS
from tests.docs.pages import ROOT

PAGE: Final = ROOT / "docs" / "control-plane.md"
_BEGIN: Final = "<!-- calls -->"
_END: Final = "<!-- end of calls -->"


def format_calls() -> str:
    """Format the table of calls as Markdown."""
    lines = ["| call | service | who | |", "| --- | --- | --- | --- |"]
    for name, call in CALLS.items():
        who = ", ".join(sorted(call.roles)) or "whoever holds an invitation"
        marks = (("changes", call.changes), ("streams", call.streams), ("takes a stream", call.takes_stream))
        how = ", ".join(word for word, yes in marks if yes)
        lines.append(f"| `{name}` | `{call.service.rpartition('.')[2]}` | {who} | {how} |")
    return "\n".join(lines)


def insert_calls(page: str) -> str:
    """Return the page with the table between its marks."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{format_calls()}\n{_END}{after}"


if __name__ == "__main__":
    PAGE.write_text(insert_calls(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
