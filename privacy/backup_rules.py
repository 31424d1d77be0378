"""What an archive of an installation's folder holds; ``privacy/backup.py`` writes it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class BackupRules:
    """What an archive of this kind of folder holds.

    Attributes:
        kind: whose folder it is.
        leave_out: patterns of paths within the folder; a pattern of a folder leaves out all that is in it.
        last: SQLite files that are copied after everything else.
    """

    kind: Literal["site", "coordinator"]
    leave_out: tuple[str, ...]
    last: tuple[str, ...]
