"""Show a study's progress on stderr: a live table on a terminal, plain lines elsewhere.

Rules:

* shown are phases, public prices, bytes, waiting times, and figures of totals that sites have opened; nothing else
  that is computed from records;
* bytes and prices of a site are totals of the study so far, and the headings say so.
"""

from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from server.results.tally import Tally
from server.results.text import format_figure, format_seconds
from server.study.notes import FiguresOpened, Remark, ReplyReceived, RoundDone, StudyBegan, WatchedNote

_SHOWN: Final = ("has joined", "has sealed")


class Progress:
    """The display of a study's notes; with ``quiet`` it shows nothing and still adds them up."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.tally = Tally()
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._quiet = quiet

    def __enter__(self) -> Self:
        if self._live and not self._quiet:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live and not self._quiet:
            self._live.stop()

    def add_note(self, note: WatchedNote) -> None:
        """Add a note and show what it changes."""
        self.tally.add_note(note)
        if self._quiet:
            return
        if self._live:
            self._live.update(self._build_table(), refresh=True)
        line = self._format_line(note)
        if line:
            self._console.print(line, markup=False, soft_wrap=True, style="red" if self.tally.warnings else None)

    def _format_line(self, note: WatchedNote) -> str | None:
        match note:
            case ReplyReceived(site=name, what="sealed", round=int(number)) if not self._live:
                site = self.tally.sites[name]
                waited = self.tally.now - self.tally.rounds[number].asked
                return (
                    f"round {number:>3}  {name:<12} sealed after {waited:.1f} s; so far "
                    f"{_format_epsilon(site.epsilon):<16} bytes up {site.bytes_up:>9,}  down {site.bytes_down:>9,}"
                )
            case RoundDone():
                left = self.tally.seconds_left
                rest = "" if left is None else f"; about {format_seconds(left)} left"
                return f"round {note.round} of {self.tally.exchanges or '?'} is done{rest}"
            case FiguresOpened():
                return self._format_figures(note)
            case StudyBegan() if self.tally.warnings:
                return "; ".join(self.tally.warnings)
            case Remark(site=None) if not note.text.endswith(" is committed"):
                return note.text
            case Remark(site=str(name)) if note.text not in _SHOWN:
                return f"{name}: {note.text}"
        return None

    def _build_table(self) -> Table:
        title = f"[bold red]{'; '.join(self.tally.warnings)}[/]" if self.tally.warnings else None
        headings = ("site", "round", "phase", "spent so far", "bytes up so far", "down so far", "waiting since")
        table = Table(*headings, title=title, caption=self._format_caption())
        for name, site in sorted(self.tally.sites.items()):
            waiting = "" if site.since is None else f"{max(0.0, self.tally.now - site.since):.0f} s"
            table.add_row(
                name,
                str(site.round or "-"),
                site.phase,
                _format_epsilon(site.epsilon),
                f"{site.bytes_up:,}",
                f"{site.bytes_down:,}",
                waiting,
            )
        return table

    def _format_caption(self) -> str | None:
        left = self.tally.seconds_left
        return None if left is None else f"about {format_seconds(left)} left"

    def _format_figures(self, found: FiguresOpened) -> str:
        known = [
            (each.title, found.figures[each.name]) for each in self.tally.figures if each.name in found.figures
        ]
        shown = ", ".join(f"{title} {format_figure(each)}" for title, each in known)
        positive = "" if found.threshold is None else f"positive from {found.threshold:g} on; "
        mostly = "; MOSTLY NOISE" if found.mostly_noise else ""
        return (
            f"after round {found.after_round}, on the sites' test patients: {shown} ({positive}± by noise){mostly}"
        )


def _format_epsilon(value: float | None) -> str:
    return "-" if value is None else f"epsilon {value:.3f}"
