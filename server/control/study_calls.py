"""Answer the calls about studies: launch, list, show, watch, stop, resume, give up."""

import time
from collections.abc import Iterator
from typing import Any, Final

from privacy.document import parse
from privacy.errors import FederationError, WireError
from privacy.study import parse_terms
from privacy.study.data.kinds import ContractFile
from privacy.study.launch import SignedLaunchOrder
from server.control.caller import Caller
from server.control.runs import Runs
from server.control.server import Fields, Handler, Streamer
from server.federation.folder import Federation
from server.results.read import read_results, read_summary
from server.study.events import GaveUp, Resumed, SiteReadmitted, StudyStatus
from server.study.journal import Journal
from server.study.notes import Heartbeat, WatchEnded
from server.study.runner import STOP_FILE
from server.study.state import StudyState

_WATCH_EVERY_S: Final = 0.2


class StudyCalls:
    """The calls about the studies of ``federation``, whose ``runs`` go on beside them."""

    def __init__(self, federation: Federation, runs: Runs) -> None:
        self._federation = federation
        self._runs = runs

    @property
    def handlers(self) -> dict[str, Handler]:
        """The calls with one answer, by name."""
        return {
            "CountPatients": self._count_patients,
            "Launch": self._launch,
            "ListStudies": self._list_studies,
            "ShowStudy": self._show,
            "StopStudy": self._stop,
            "ResumeStudy": self._resume,
            "GiveUpStudy": self._give_up,
        }

    @property
    def streamers(self) -> dict[str, Streamer]:
        """The calls with a stream of answers, by name."""
        return {"WatchStudy": self._watch}

    def _count_patients(self, fields: Fields, _: Caller) -> Fields:
        contract = parse({"data": fields["contract"]}, ContractFile, WireError, "contract").data
        known = self._federation.read_known_patients(contract, fields["sites"] or self._federation.read_sites())
        return {"patients": sum(known.values()), "sites": len(known)}

    def _launch(self, fields: Fields, caller: Caller) -> Fields:
        terms, order = parse_terms(fields["terms"]), None
        if not caller.is_local:
            order = parse(fields["order"] or {}, SignedLaunchOrder, FederationError, "launch order")
            if (order.statement.operator, order.statement.key) != (caller.name, caller.identity):
                raise FederationError(f"the launch order is not that of the operator '{caller.name}', who launches")
        return {"study": self._federation.launch(terms, fields["parameters"], fields["sites"], order)}

    def _list_studies(self, _: Fields, __: Caller) -> Fields:
        return {"items": [self._summarise_study(study) for study in self._federation.list_studies()]}

    def _summarise_study(self, study: str) -> dict[str, Any]:
        summary, why = read_summary(self._federation.find_study_folder(study)), self._runs.explain(study)
        if why and not summary.why:
            summary = summary.model_copy(update={"why": why})
        return summary.model_dump(mode="json")

    def _show(self, fields: Fields, _: Caller) -> Fields:
        found = read_results(self._federation.require_study_folder(fields["study"]))
        return {"document": found.model_dump(mode="json")}

    def _stop(self, fields: Fields, _: Caller) -> Fields:
        with Journal(self._federation.require_study_folder(fields["study"])) as journal:
            standing = journal.read_status()
            if standing is StudyStatus.OPEN:
                (journal.folder / STOP_FILE).touch()
        return {"standing": standing}

    def _resume(self, fields: Fields, _: Caller) -> Fields:
        with Journal(self._federation.require_study_folder(fields["study"])) as journal:
            history = journal.read_history()
            if journal.read_status() is StudyStatus.FINISHED:
                raise FederationError(f"the study '{fields['study']}' is finished; launch a new one")
            for site in fields["readmit"]:
                if site not in history.out:
                    out = ", ".join(sorted(history.out)) or "none"
                    raise FederationError(f"'{site}' is not out of this study; sites that are out: {out}")
            if history.stopped is None:
                raise FederationError(
                    f"the study runs; before sites are re-admitted, stop it: consilium study stop {fields['study']}"
                )
            readmitted = [SiteReadmitted(site=site) for site in fields["readmit"]]
            self._require_enough(journal, readmitted)
            for event in readmitted:
                journal.record(event)
            # Before Resumed: a run that finds the stop file stops the study again.
            (journal.folder / STOP_FILE).unlink(missing_ok=True)
            journal.record(Resumed())
        self._runs.forget(fields["study"])
        return {}

    def _require_enough(self, journal: Journal, readmitted: list[SiteReadmitted]) -> None:
        """Refuse to resume a study that would stop again at once because too few sites may take part."""
        history = journal.read_history()
        for event in readmitted:
            history.apply(event)
        lack = StudyState(journal.read_launch(), history, self._federation.timeouts).describe_lack()
        if lack is not None:
            raise FederationError("; ".join(lack))

    def _give_up(self, fields: Fields, _: Caller) -> Fields:
        with Journal(self._federation.require_study_folder(fields["study"])) as journal:
            if journal.read_status() is StudyStatus.FINISHED:
                raise FederationError(f"the study '{fields['study']}' is finished; there is nothing to give up")
            if journal.read_status() is not StudyStatus.STOPPED:
                raise FederationError(f"the study runs; stop it first: consilium study stop {fields['study']}")
            (journal.folder / STOP_FILE).unlink(missing_ok=True)
            journal.record(GaveUp())
            journal.record(Resumed())  # so that a run starts, which informs every site
        self._runs.forget(fields["study"])
        return {}

    def _watch(self, fields: Fields, _: Caller) -> Iterator[Fields]:
        """Yield a study's notes after a number, oldest first, until the study is finished or stopped."""
        with Journal(self._federation.require_study_folder(fields["study"])) as journal:
            last = fields["after"]
            while True:
                # The status is read before the notes, so that the last notes are not missed.
                standing = journal.read_status()
                for note in journal.read_notes(after=last):
                    last = note.number
                    yield {"document": note.model_dump(mode="json")}
                now = time.time()
                if standing is not StudyStatus.OPEN:
                    ended = WatchEnded(time=now, standing=standing, why=journal.read_history().stopped or "")
                    yield {"document": ended.model_dump(mode="json")}
                    return
                yield {"document": Heartbeat(time=now).model_dump(mode="json")}
                time.sleep(_WATCH_EVERY_S)
