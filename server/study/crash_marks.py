"""Marks on disk that show whose reply was being handled when this process crashed.

Handling a reply inflates what a site has sent and passes it to C++. Most errors there are caught. A crash, or a kill
by the kernel for lack of memory, cannot be caught: the next process would ask the same question and crash again. So
it reads the marks first.

Rules:

* a site is marked before anything of its reply is read; its marks are removed once a reply of it has been handled;
* other sites' replies do not change a site's marks;
* an error that says nothing about the site (a full disk, a SuperLink that has ended) removes only the present mark.
"""

from collections import Counter
from pathlib import Path
from typing import Final

MOST_CRASHES: Final = 2
"""One crash may be a coincidence: a coordinator may be killed at any time."""


class CrashMarks:
    """The marks of one study, in the file ``path``; only one process may write them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._marks = Counter(path.read_text(encoding="ascii").split()) if path.exists() else Counter[str]()
        self._now: str | None = None

    def begin(self, site: str) -> None:
        """Mark ``site`` before its reply is read; a second call for the same reply has no effect."""
        if self._now != site:
            self.take_back()
            self._now = site
            self._marks[site] += 1
            self._write()

    def end(self) -> None:
        """Remove the site's marks after its reply, and all that follows from it, is handled."""
        if self._now is not None:
            del self._marks[self._now]
            self._now = None
            self._write()

    def take_back(self) -> None:
        """Remove the present mark: handling failed for a reason other than the site."""
        if self._now is not None:
            self._marks[self._now] -= 1
            self._now = None
            self._write()

    def take_crashing_sites(self) -> list[str]:
        """Return the sites whose replies have crashed this process too often, and remove their marks."""
        sites = sorted(site for site, deaths in self._marks.items() if deaths >= MOST_CRASHES)
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
        # Renamed, so that a crash leaves the old marks or the new ones.
        written = self._path.with_suffix(".new")
        written.write_text("".join(f"{name}\n" for name in names), encoding="ascii")
        written.replace(self._path)
