"""Answer the coordinator: one verified request in, one signed reply out.

Rules:

* only the coordinator this site has joined is answered, and only with a reply of ``privacy/protocol/messages.py``;
* requests of a study are numbered and numbers rise; an old one has no effect;
* a refusal leaves as a code and a sentence made of public facts (``client/study/problem.py``). What depends on
  records or on the machine (a file's mistakes, why training failed, the path of a folder) stays in the site's own
  log;
* a study is judged before a record is read: a launch is for a contract that people registered, or it is refused.
  Neither the refusal nor its absence depends on what a file holds;
* the policy is read anew for every study (``client/study/policy_in_force.py``);
* a study within every rule waits until people have agreed to it, if the policy asks for people: nothing is paid, set
  aside or trained before (``client/admission/decisions.py``). The answer is then ``waiting``, not a refusal;
* after a restore every new study waits until people have confirmed the restored policy: it may be one that they have
  changed since, and neither its rules nor its refusals are applied;
* a ledger or a disk that cannot be written now, or data that cannot be read now, refuse the request, and the site
  keeps running: it takes part again as soon as it can. Nothing is recorded as a decision;
* a round that is paid in the ledger, and whose result is missing in the study's folder, is not worked on a second
  time (``lost``): both results together would reveal more than was paid for;
* training or scoring that fails is an incident in the ledger, which people look at: the failure may depend on a
  record;
* a ledger or a key that does not verify ends the site: ``LedgerError``, ``KeyFileError`` and ``SiteConfigError``
  are not caught.

One file, although it is long: admission, answers and endings look at the same few participations.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from client.admission.decisions import Standing, judge_decisions, make_requirement
from client.admission.quotas import list_earlier_studies
from client.admission.rules import admit
from client.data.dataset import StudyFiles, require_registered
from client.site.folder import SiteFolder
from client.site.hooks import EventKind, Hooks
from client.site.policy import Policy
from client.site.registry import Registration
from client.study.activity_log import ActivityLog
from client.study.context import StudyContext
from client.study.held_budget import give_back_abandoned
from client.study.kept_secrets import KeptSecrets, forget_kept_secrets
from client.study.key_epochs import EpochLostError, Epochs
from client.study.opening_ahead import OpeningAhead, begin_opening
from client.study.outgoing_update import OnSealing, OutgoingUpdate, send_later
from client.study.participation import Participation
from client.study.peer_heads import PeerHeads
from client.study.policy_in_force import PolicyInForce
from client.study.problem import describe_error
from client.study.state import StudyState
from client.study.store import StudyStore, make_first_shared
from client.study.waiting_studies import WaitingStudies
from client.study.witness_check import require_not_behind, require_witnessed
from client.training.interface import TrainingInterface
from client.training.jobs import FirstModel
from models.parameters.vector import Vector, compute_vector_digest
from privacy.accounting.figures import Budget
from privacy.errors import (
    BudgetError,
    DataError,
    DataUnavailableError,
    Error,
    RefusedError,
    SealingError,
    StorageError,
    TermsError,
    TrainingError,
    WireError,
)
from privacy.growing_file import GrowingFile
from privacy.keys import PublicKey
from privacy.ledger.entries import About, Admits, Choice, Ending, Incident
from privacy.ledger.ledger import read_utc_time
from privacy.program import read_program
from privacy.protocol.envelope import Blob, Body, Envelope, make_envelope, open_envelope, require_route
from privacy.protocol.key_messages import Wrap
from privacy.protocol.messages import Close, GivenUp, GiveUp, Join, Open, Problem, Release, Reply, Train, Waiting
from privacy.refusal_codes import RefusalCode
from privacy.secure_aggregation.round_layout import compute_largest_aggregate
from privacy.secure_aggregation.seal import forget_loaded_keys
from privacy.study import COORDINATOR, Terms
from privacy.study.launch import Launch, SignedLaunch

_log = logging.getLogger(__name__)
_REFUSALS: Final = (
    RefusedError,
    BudgetError,
    WireError,
    SealingError,
    TermsError,
    DataError,
    TrainingError,
    StorageError,
    OSError,
)
"""What refuses a request and lets the site continue."""

_OVER: Final = {
    Ending.WITHDRAWN: "left",
    Ending.GIVEN_UP: "given up by its coordinator",
    Ending.ABANDONED: "abandoned, since nothing came of it for as long as its terms allow,",
}

TrainingFor = Callable[[Launch, StudyFiles], TrainingInterface]


class RequestHandler:
    """A hospital's installation, as the protocol sees it.

    Args:
        home: the site's folder.
        training_for: makes the trainer of a study; a process of its own in a real site.
        activity: the activity log.
    """

    def __init__(self, home: SiteFolder, training_for: TrainingFor, activity: ActivityLog | None = None) -> None:
        self._home = home
        self._activity = activity or ActivityLog()
        self._config = home.config
        self._identity = home.load_identity()
        self._admission = home.load_admission()
        self._coordinator = PublicKey.from_text(self._admission.coordinator)
        self._ledger = home.open_ledger()
        self._peer_heads = PeerHeads(home.peer_heads_path)
        self._training_for = training_for
        self._program = read_program()  # now: what is installed later does not run yet
        self._waiting = WaitingStudies(home)
        self.hooks = Hooks(self._config.hooks, self._config.name, self._identity)
        self._policy = PolicyInForce(home, self._ledger, self.hooks, self._activity)
        self._ledger.on_incident = lambda study, what: self.hooks.tell(EventKind.INCIDENT, what, study)
        self._trainings: dict[str, TrainingInterface] = {}
        self._participations: dict[str, Participation] = {}
        self._numbers: dict[str, int] = {}
        self._largest: dict[str, int] = {}
        self._ahead: OpeningAhead | None = None
        self._freed = datetime.min.replace(tzinfo=UTC)
        self._free_abandoned()

    @property
    def name(self) -> str:
        """The site's name."""
        return self._config.name

    def find_rollback(self) -> Incident | None:
        """Return the last incident of a rollback from which the ledger was not recovered; None if there is none."""
        return self._ledger.read_state().rollback

    def close(self) -> None:
        """End the trainers and close the ledger and the file of seen heads."""
        self._discard_ahead()
        for training in self._trainings.values():
            training.close()
        self._trainings.clear()
        self.hooks.close()
        self._ledger.close()
        self._peer_heads.close()

    def compute_blob_limit(self) -> int:
        """Return the most bytes that a request's blob may have.

        It is the largest aggregate of the studies that this site has admitted.
        """
        for path in (self._home.folder / "studies").glob("*/state.json"):
            if path.parent.name not in self._largest:
                with contextlib.suppress(Error):  # damage is reported when the study continues
                    self._largest[path.parent.name] = compute_largest_aggregate(StudyStore(path.parent).launch)
        return max(self._largest.values(), default=0)

    def answer(self, envelope: Envelope, on_sealing: OnSealing = send_later) -> Envelope:
        """Answer a request with a signed reply.

        Args:
            envelope: the request.
            on_sealing: told of a large update before it is sealed.

        Raises:
            WireError: the request is not the coordinator's, or not for this site; nothing was done.
            LedgerError, KeyFileError, SiteConfigError: the site cannot continue.
        """
        try:
            body = open_envelope(envelope, self._coordinator)
            require_route(body, COORDINATOR, self.name)
            reply, update = self._reply(body, envelope.blobs, on_sealing)
        finally:
            self._discard_ahead()
        return make_envelope(
            self._identity,
            reply,
            study=body.study,
            sender=self.name,
            receiver=COORDINATOR,
            number=body.number,
            answers=envelope.body,
            blobs=() if update is None else (update.map(),),
            notes=() if update is None else (update.note,),
        )

    def open_ahead(self, body: Body, file: GrowingFile) -> None:
        """Begin to decrypt the aggregate of a request that is to be answered, while it comes to ``file``.

        Args:
            body: of the request, verified.
            file: it ends as whole only if it is the aggregate that ``body`` names.
        """
        self._discard_ahead()
        participation, request = self._participations.get(body.study), body.content
        if participation is None or not isinstance(request, Train | Open) or request.committed is None:
            return
        # what cannot be opened is refused in its place, when the request is answered
        with contextlib.suppress(Error):
            if self._ledger.read_state().find_ending(body.study) is None:
                (note,) = body.blobs
                self._ahead = begin_opening(participation.context, request.committed, note, file)

    def _discard_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead.discard()
            self._ahead = None

    def _reply(
        self, body: Body, blobs: tuple[Blob, ...], on_sealing: OnSealing
    ) -> tuple[Reply, OutgoingUpdate | None]:
        try:
            self._free_abandoned()
            answer = self._answer(body, blobs, on_sealing)
            participation = self._participations.get(body.study)
            if participation is not None:
                self._activity.report_answer(participation.context, body.content, answer[0])
            return answer
        except _REFUSALS as error:
            said = describe_error(error)
            if str(error) != said.sentence:
                _log.warning("%s: %s refused (%s): %s", body.study, body.content.kind, said.code, error)
            self._activity.report_refusal(body.study, body.content.kind, said.code, said.sentence)
            if isinstance(error, TrainingError):
                sentence = "training or scoring failed here; the training log says why"
                self._ledger.record_incident(body.study, "training-failed", sentence)
        participation = self._participations.get(body.study)
        base = None if participation is None else participation.base
        return Problem(code=said.code, sentence=said.sentence, base=base), None

    def _answer(
        self, body: Body, blobs: tuple[Blob, ...], on_sealing: OnSealing
    ) -> tuple[Reply, OutgoingUpdate | None]:
        if body.number <= self._numbers.get(body.study, -1):
            raise RefusedError(
                RefusalCode.STALE, f"request {body.number} came after request {self._numbers[body.study]}"
            )
        self._numbers[body.study] = body.number
        blob = blobs[0] if blobs else None
        ahead = self._ahead if self._ahead is not None and self._ahead.is_named_by(body) else None
        request = body.content
        if isinstance(request, GiveUp):
            return self._give_up(request, body.study), None
        self._require_not_over(body.study)
        if isinstance(request, Join):
            found = self._admit_if_new(request, body.study)
            return (found if isinstance(found, Waiting) else found.join(request)), None
        participation = self._find_participation(body.study)
        match request:
            case Wrap():
                return participation.wrap(request), None
            case Train():
                require_witnessed(self._home, self._ledger, self._coordinator, body.study, request.witnessed)
                self._policy.require_time(participation.context)
                began = time.monotonic()
                sealed = participation.train(request, blob, on_sealing, ahead)
                self._policy.note_duration(participation.context, (time.monotonic() - began) / 60)
                return sealed
            case Release():
                return participation.release(request), None
            case Open():
                return participation.open(request, blob, ahead), None
            case Close():
                closed = participation.close(request, waits=self._policy.keeps_release(body.study))
                self._policy.tell_of_end(participation.context)
                self._end_work(body.study)
                return closed, None
        raise WireError(f"a site does not answer '{request.kind}'")

    def _find_participation(self, study: str, *, new: bool = False) -> Participation:
        """Return the site's part in a study that it has begun; after a restart, resume it.

        Raises:
            EpochLostError: nothing of the study is here.
        """
        if study not in self._participations:
            folder = self._home.find_study_folder(study)
            if not StudyStore.exists(folder):
                raise EpochLostError("this site has not joined the study")
            self._participations[study] = self._resume_study(StudyStore(folder))
            if not new:
                self._activity.report_resumed_study(self._participations[study].context)
        return self._participations[study]

    def _give_up(self, request: GiveUp, study: str) -> GivenUp:
        """Close the account of a study that the coordinator will not continue; what was paid stays paid.

        Nothing that this site still holds of the study leaves it any more, and nothing more is paid for it.
        """
        folder = self._home.find_study_folder(study)
        if StudyStore.exists(folder) and StudyStore(folder).launch.digest != request.launch:
            raise RefusedError(RefusalCode.REFUSED, "this study was admitted with another launch")
        self._waiting.forget_if_given_up(study, request.launch)
        if self._ledger.read_state().find_allowance(study) is not None:
            self._ledger.give_back(study, Ending.GIVEN_UP)
        forget_kept_secrets(folder)
        self._participations.pop(study, None)
        self._end_work(study)
        return GivenUp(ledger=self._ledger.sign_head())

    def _require_not_over(self, study: str) -> None:
        """Refuse every request of a study whose account was closed before its end.

        Raises:
            RefusedError: ``given-up``.
        """
        why = self._ledger.read_state().find_ending(study)
        if why is not None and why is not Ending.FINISHED:
            forget_kept_secrets(self._home.find_study_folder(study))
            self._participations.pop(study, None)
            self._end_work(study)
            raise RefusedError(
                RefusalCode.GIVEN_UP,
                f"this study was {_OVER[why]} at this site: it takes no further part, and releases nothing",
            )

    def _free_abandoned(self) -> None:
        """Free, once an hour, what studies hold that had no entry for as long as their terms allow."""
        now = read_utc_time()
        # a clock that was set back must not delay it
        if now - self._freed < timedelta(hours=1) and now >= self._freed:
            return
        self._freed = now
        for study in self._waiting.forget_abandoned():
            _log.warning("%s: nobody has asked for it for as long as its terms allow; it waits no longer", study)
        for study in give_back_abandoned(self._ledger, self._home, now):
            _log.warning("%s: nothing came of it for as long as its terms allow; its account is closed", study)
            forget_kept_secrets(self._home.find_study_folder(study))
            self._participations.pop(study, None)
            self._end_work(study)

    def _admit_if_new(self, request: Join, study: str) -> Participation | Waiting:
        """Return the site's part in the study, admitted now if it is new here, or that it waits for people."""
        launch = request.launch.statement
        if launch.study != study:
            raise WireError("a launch came in a message of another study")
        require_not_behind(self._home, self._ledger, self._coordinator, study, request.witnessed)
        folder = self._home.find_study_folder(study)
        new = not StudyStore.exists(folder)
        if new:
            with self._home.hold_admissions():  # until the study is there, no snapshot of its data is removed
                waiting = self._admit(request.launch, folder)
            if waiting is not None:
                return waiting
        if StudyStore(folder).launch.digest != launch.digest:
            raise RefusedError(RefusalCode.REFUSED, "this study was admitted with another launch")
        return self._find_participation(study, new=new)

    def _resume_study(self, store: StudyStore) -> Participation:
        terms = store.launch.terms
        if study_training := self._trainings.get(store.launch.study):
            training = study_training
        else:
            objections = self._home.open_patient_register().load_objections().select(store.state.objections)
            files = store.state.registration.to_study_files(objections, self._find_weights(terms))
            training = self._trainings[store.launch.study] = self._training_for(store.launch, files)
        kept = KeptSecrets(store.folder, store.launch, self._identity)
        epochs = Epochs(store.launch, self.name, self._identity, kept.load_keys(), store.state.ended_epochs)
        return Participation(
            StudyContext(
                self.name,
                self._identity,
                store.state.patients,
                store,
                self._ledger,
                training,
                epochs,
                kept,
                self._peer_heads,
            )
        )

    def _admit(self, signed: SignedLaunch, folder: Path) -> Waiting | None:
        """Judge the study by every rule of this site, set its whole price aside, and create its folder.

        If people must decide first, keep the launch for them and return this answer; nothing else is done.
        """
        launch = signed.statement
        if self._home.describe_unconfirmed() is not None:
            return self._wait(signed, self._policy.read(), "its people have not confirmed its restored policy yet")
        try:
            self._require_study_whole(launch.study)
            registration = self._home.load_registry().find_nearest(launch.terms.data)
            objections = self._home.open_patient_register().load_objections()
            policy = self._policy.read()
            believed = self._home.load_peers().find_believed(f"{read_utc_time():%Y-%m-%d}", self.name)
            price = admit(
                signed,
                site=self.name,
                identity=self._identity.public,
                admission=self._admission,
                pinned=believed.keys,
                doubts=believed.doubts,
                policy=policy,
                registration=registration,
                account=None if registration is None else self._find_budget(registration),
                weights=self._home.open_public_weights().list_held(),
                device=self._config.device,
                earlier=list_earlier_studies(self._ledger.read_state(), but=launch.study),
                now=read_utc_time(),
                program=self._program,
            )
            assert registration is not None
            if launch.terms.counts_only:
                self._ledger.read_state().cohorts.require_distant(
                    registration.population, launch.names, launch.terms.cohort.minimum
                )
            self._ledger.require(make_requirement(launch, policy))
            standing = self._judge(launch)
            if not standing.admitted:
                agreed = f"{len(standing.agreed)} of {standing.required} agreed"
                return self._wait(signed, policy, f"its people have not decided yet: {agreed}")
            files = registration.to_study_files(objections, self._find_weights(launch.terms))
            _require_registered_files(files)
            training = self._training_for(launch, files)
            self._trainings[launch.study] = training
            shared = make_first_shared(launch.terms, self._make_first_model(training, launch.parameters))
            # before the folder exists: an admission that a crash interrupts here has paid nothing and begins again
            self._ledger.allow(
                launch.study,
                registration.population,
                price.plan,
                launch.terms.digest,
                approval=Admits.LAUNCH if standing.uses_approval else None,
            )
        except (RefusedError, BudgetError, TermsError) as error:
            code = error.code if isinstance(error, RefusedError) else RefusalCode.BUDGET
            if isinstance(error, TermsError):
                code = RefusalCode.POLICY
            self._ledger.record_refusal(launch.study, code, str(error))
            self._waiting.forget(launch.study)
            self._end_work(launch.study)
            raise RefusedError(code, str(error)) from None
        state = StudyState(
            model_sha256=compute_vector_digest(shared),
            patients=registration.public_patients,
            registration=registration,
            objections=objections.texts,
            noise_multiplier=price.noise_multiplier,
            evaluation_noise_multiplier=price.evaluation_noise_multiplier,
        )
        StudyStore.create(folder, signed, state, shared)
        self._waiting.forget(launch.study)
        self._activity.report_admission(launch)
        self._policy.tell_if_low(registration.population)
        return None

    def _judge(self, launch: Launch) -> Standing:
        """Judge what people have decided about ``launch``.

        Raises:
            RefusedError: ``approval``: one of them refused it.
        """
        state = self._ledger.read_state()
        required = state.decisions.find_required(launch.study)
        assert required is not None, "it was recorded before"
        standing = judge_decisions(required, state)
        if standing.refused:
            decisions = state.decisions.list_decisions(launch.study, About.ADMISSION)
            why = "; ".join(each.why for each in decisions if each.choice is Choice.REFUSE and each.why)
            raise RefusedError(
                RefusalCode.APPROVAL, f"people of this site have refused it{f': {why}' if why else ''}"
            )
        return standing

    def _wait(self, signed: SignedLaunch, policy: Policy, sentence: str) -> Waiting:
        """Keep a launch for this site's people, and return the answer to the coordinator."""
        study = signed.statement.study
        new = self._waiting.find(study) is None
        kept = self._waiting.keep(signed)
        step = "confirm-policy" if self._home.describe_unconfirmed() is not None else f"approve {study}"
        self._activity.report(f"{study}: waits for a decision ({sentence}): consilium-site {step}", about=study)
        if new:
            self.hooks.tell(
                EventKind.APPROVAL_WANTED, f"'{study}' waits for a decision of this site's people", study
            )
        return Waiting(since=kept.since, contact=policy.contact, sentence=sentence)

    def _find_weights(self, terms: Terms) -> Path | None:
        """Return the file of the public weights that the study begins with; None if it begins without."""
        return None if terms.model.start is None else self._home.open_public_weights().build_path(terms.model.start)

    def _find_budget(self, registration: Registration) -> Budget | None:
        """Return the budget of the files' population, if the ledger knows the files under their contract."""
        known = self._ledger.read_state().is_registered(
            registration.population, registration.contract.digest, registration.data
        )
        return self._ledger.read_state().find_account(registration.population).budget if known else None

    def _require_study_whole(self, study: str) -> None:
        """Refuse to begin a study again if its folder is lost and the ledger has paid work of it.

        An admission that a crash interrupted has paid for nothing yet, and is begun again.
        """
        if self._ledger.read_state().has_paid(study):
            sentence = "the ledger has paid work of this study whose results are gone: the study's folder is lost"
            self._ledger.record_incident(study, "study-lost", sentence, None)
            raise RefusedError(
                RefusalCode.LOST,
                f"{sentence}; this site's people restore the folder from their backup, or end the study here: "
                f"consilium-site withdraw {study}",
            )

    def _make_first_model(self, training: TrainingInterface, parameters: int) -> Vector:
        model = training.run(FirstModel())
        if len(model) != parameters:
            raise RefusedError(
                RefusalCode.POLICY, f"the model has {len(model)} parameters here, the launch says {parameters}"
            )
        return model

    def _end_work(self, study: str) -> None:
        """End the processes that work for a study, and forget its key."""
        forget_loaded_keys()
        training = self._trainings.pop(study, None)
        if training is not None:
            training.close()


def _require_registered_files(files: StudyFiles) -> None:
    """Refuse a study whose files are not those that were registered; no record is looked at.

    Raises:
        RefusedError: ``data``: a file changed. It is this site's decision, unlike a file that cannot be read now.
        DataUnavailableError: a file cannot be read now.
    """
    try:
        require_registered(files)
    except DataUnavailableError:
        raise
    except DataError as error:
        _log.error("%s", error)
        said = describe_error(error)
        raise RefusedError(said.code, said.sentence) from None
