"""Report what happens at a site in words: on its screen with the time, and the same in its log.

Everything reported is public or the site's own: studies, rounds, epsilon from public numbers, rules. Nothing is
computed from records. A sentence that repeats the last one about a study is not reported again.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

from client.study.context import StudyContext
from client.study.cut_values import describe_mark
from client.study.statistics_file import STATISTICS_FILE
from privacy.protocol.messages import Close, Reply, Request, Sealed, Train
from privacy.study.launch import Launch

_log: Final = logging.getLogger("activity")


class ActivityLog:
    """Reports what happens.

    Args:
        show: takes a line for the screen; nothing is shown by default.
    """

    def __init__(self, show: Callable[[str], None] = lambda line: None) -> None:
        self._show = show
        self._last: dict[str, str] = {}
        self._reported_edges = dict[str, int]()
        """How many of a study's rounds whose sum the range did not hold are reported."""

    def report(self, sentence: str, *, about: str = "", level: int = logging.INFO) -> None:
        """Report ``sentence``, unless it repeats the last one about the same subject."""
        if self._last.get(about) == sentence:
            return
        self._last[about] = sentence
        _log.log(level, "%s", sentence)
        self._show(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {sentence}")

    def report_admission(self, launch: Launch) -> None:
        """Report that a study was admitted."""
        terms = launch.terms
        promise = (
            "without privacy"
            if terms.privacy.epsilon is None
            else f"epsilon {terms.privacy.epsilon:g}, delta {terms.privacy.delta:g}"
        )
        work = "statistics" if terms.counts_only else f"{terms.training.rounds} rounds"
        self.report(
            f"{launch.study}: admitted: {promise}, {work}, sites {', '.join(launch.names)}", about=launch.study
        )

    def report_resumed_study(self, context: StudyContext) -> None:
        """Report that a study continues after a restart."""
        self.report(
            f"{context.launch.study}: continues after round {context.state.base} of {context.terms.training.rounds}",
            about=context.launch.study,
        )

    def report_answer(self, context: StudyContext, request: Request | Reply, reply: Reply) -> None:
        """Report that a request was answered."""
        study, rounds = context.launch.study, context.terms.training.rounds
        edges, reported = context.history.edges, self._reported_edges.get(study, 0)
        for mark in edges[reported:]:
            about = f"{study}, round {mark.round}"
            self.report(f"{study}: {describe_mark(context, mark)}", about=about, level=logging.WARNING)
        self._reported_edges[study] = len(edges)
        if isinstance(request, Train) and isinstance(reply, Sealed):
            what = f"round {request.round} of {rounds} is trained and sealed"
            if context.terms.counts_only:
                what = "the statistics are counted and sealed"
            elif request.round > rounds:
                what = "the last model is evaluated"
            self.report(f"{study}: {what}; {_format_spent(context)} so far", about=study)
        elif isinstance(request, Close):
            self.report(
                f"{study}: finished; {_format_spent(context)} in all; {_describe_model(context)}",
                about=study,
            )

    def report_refusal(self, study: str, kind: str, code: str, sentence: str) -> None:
        """Report that a request was refused."""
        what = {"join": "admission", "train": "a round"}.get(kind, kind)
        self.report(f"{study}: refuses {what} ({code}): {sentence}", about=study, level=logging.WARNING)


def _describe_model(context: StudyContext) -> str:
    if context.terms.counts_only:
        return f"the statistics of all sites are in {context.store.folder / STATISTICS_FILE}"
    if context.state.withheld is not None:
        return f"the model waits for a person: consilium-site release approve {context.launch.study}"
    return f"the model is in {context.store.folder / 'release'}"


def _format_spent(context: StudyContext) -> str:
    spent = context.compute_epsilon_spent()
    return "no epsilon describes it" if spent is None else f"epsilon {spent:.3f} spent"
