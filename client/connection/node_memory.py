"""Remember under which node this folder's agent came online, so that its successor can take over after a kill.

Flower counts a killed agent's node as online for a while, and refuses another agent. A successor signs it off first,
if it is certain that the earlier agent is gone: it runs in the same folder (whose lock one process holds), at the same
path, since the same start of the machine. A copy of the folder elsewhere takes over nothing; it waits, and is reported.
"""

from pathlib import Path
from typing import Final

from pydantic import Field

from privacy.canonical import from_canonical
from privacy.document import Document, parse
from privacy.errors import SiteConfigError, WireError
from privacy.files import replace_file

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class _Note(Document):
    """What the file holds; the node as text, because it has 64 bits."""

    node: str = Field(pattern=r"^\d{1,20}$")
    boot: str
    path: str


class NodeMemory:
    """The node of the agent that last came online, in the file ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken = False

    def keep(self, node_id: int) -> None:
        """Remember the node; a disk that is full is no reason to stop."""
        note = _Note(node=str(node_id), boot=_read_boot_id(), path=str(self._path.resolve()))
        try:
            replace_file(self._path, note.to_bytes(), SiteConfigError)
        except SiteConfigError:
            return

    def take(self) -> int | None:
        """Return the node of a killed agent whose successor this process is; None the second time, or if unsure."""
        if self._taken:
            return None
        self._taken = True
        try:
            note = parse(from_canonical(self._path.read_bytes()), _Note, WireError, "node")
        except (OSError, WireError):
            return None
        boot = _read_boot_id()
        return int(note.node) if boot and (note.boot, note.path) == (boot, str(self._path.resolve())) else None


def _read_boot_id() -> str:
    """Read what Linux draws anew at each start; empty elsewhere."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
