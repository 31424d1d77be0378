"""Whose replies this process has died over: a mark on disk, from before a reply is read until all is done that follows.

Reading a reply inflates what a site has sent and hands it to C++. Most errors of that are caught; a crash, or a process
killed for its memory, is not, and the next process would ask the same question and die again. So it looks here first.

Rules:

* a site is marked before anything of its reply is read, and its marks go once a reply of its has been handled;
* other sites' replies change nothing about a site's marks;
* an error that says nothing about the site (a full disk, a SuperLink that is gone) takes back this mark alone.
"""

from collections import Counter
from pathlib import Path
from typing import Final

MOST_DEATHS: Final = 2
"""Once may be a coincidence: a coordinator may be killed at any time."""


class CrashMarks:
    """The marks of one study, in the file ``path``; one process writes them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._marks = Counter(path.read_text(encoding="ascii").split()) if path.exists() else Counter[str]()
        self._now: str | None = None

    def begin(self, site: str) -> None:
        """A reply of ``site`` is about to be read; again for the same reply: no effect."""
        if self._now != site:
            self.take_back()
            self._now = site
            self._marks[site] += 1
            self._write()

    def end(self) -> None:
        """The reply is handled, with all that follows from it."""
        if self._now is not None:
            del self._marks[self._now]
            self._now = None
            self._write()

    def take_back(self) -> None:
        """Nothing came of reading, and not by the site's doing."""
        if self._now is not None:
            self._marks[self._now] -= 1
            self._now = None
            self._write()

    def remove_deadly_sites(self) -> list[str]:
        """The sites over whose replies this process has died too often; they are forgotten here."""
        sites = sorted(site for site, deaths in self._marks.items() if deaths >= MOST_DEATHS)
        for site in sites:
            del self._marks[site]
        if sites:
            self._write()
        return sites

    def _write(self) -> None:
        names = sorted(self._marks.elements())
        if not names:
            self._path.unlink(missing_ok=True)
            return
        written = self._path.with_suffix(".new")
        written.write_text("".join(f"{name}\n" for name in names), encoding="ascii")
        written.replace(self._path)
