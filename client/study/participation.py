"""Answer each request of the protocol for one study at one site, or refuse it.

========  ==================================================================================
request   the site
========  ==================================================================================
join      offers a session key for the epoch
wrap      as lead: draws the epoch's study key, wraps it for the members
train     opens the last aggregate, does the round's work once, seals it; not after totals that end the study
release   compares the headers of the whole cohort, releases its own mask
open      opens an aggregate it missed; at the end, signs which model it holds
close     compares the sites' models, writes its own and its card, returns what the study did not use
========  ==================================================================================
"""

from client.study.apply_aggregate import apply_aggregate
from client.study.context import StudyContext
from client.study.held_models import require_same_model, sign_held_model
from client.study.kept_secrets import forget_kept_secrets
from client.study.key_epochs import EpochLostError
from client.study.local_round import do_round
from client.study.noiseless_sums import require_same_cohort
from client.study.opening_ahead import OpeningAhead
from client.study.outgoing_update import OnSealing, OutgoingUpdate, send_later
from client.study.release import write_release
from client.study.release_folder import publish_release
from client.study.seal_round import (
    SealedAttempt,
    release_mask,
    require_keys,
    require_not_begun,
    require_sent,
    seal_attempt,
)
from client.study.shared_counts import do_statistics_round
from client.study.statistics_file import write_statistics
from models.tasks.registry import list_figures
from privacy.errors import ProtocolError, RefusedError
from privacy.program import read_program
from privacy.protocol.envelope import Blob
from privacy.protocol.headers import Committed
from privacy.protocol.key_messages import KeyParcel, Wrap, Wrappings
from privacy.protocol.messages import Close, Closed, Join, Joined, Open, Opened, Release, Released, Sealed, Train
from privacy.refusal_codes import RefusalCode


class Participation:
    """A site's part in one admitted study."""

    def __init__(self, context: StudyContext) -> None:
        self._context = context
        context.forget_unneeded_secrets()
        kept = context.kept.load_attempt()
        self._sealed: SealedAttempt | None = None if kept is None else SealedAttempt(kept)
        self._newest = (0, 0) if kept is None else (kept.round, kept.attempt)
        """Round and attempt of the last sealing: what is sealed rises, so that nothing is sealed twice."""

    @property
    def context(self) -> StudyContext:
        """Everything that this site needs for the study."""
        return self._context

    @property
    def base(self) -> int:
        """The last round that this site has applied."""
        return self._context.state.base

    def join(self, request: Join) -> Joined:
        """Offer a session key for the epoch; asked again, the same one."""
        offer = self._context.epochs.make_offer(request.epoch, self.base, self._context.patients)
        return Joined(offer=offer, ledger=self._context.ledger.sign_head(), program=read_program())

    def wrap(self, request: Wrap) -> Wrappings:
        """Draw the epoch's study key and wrap it for the members, as the lead."""
        return Wrappings(grant=self._context.epochs.wrap_for_members(request))

    def train(
        self,
        request: Train,
        blob: Blob | None,
        on_sealing: OnSealing = send_later,
        ahead: OpeningAhead | None = None,
    ) -> tuple[Sealed, OutgoingUpdate]:
        """Open what is new, train, and seal; asked again, return the same bytes.

        Args:
            request: what was asked.
            blob: the aggregate that came with it.
            on_sealing: told of a large update before it is sealed.
            ahead: what began to decrypt the aggregate while it was fetched.

        Raises:
            RefusedError: the request does not fit what this site knows (``stale``, ``behind``, ``refused``), or the
                totals that it has opened end the study (``enough``).
            EpochLostError: the site was restarted since the epoch began, or since it sealed this attempt.
        """
        if self._context.state.closed:
            raise RefusedError(RefusalCode.STALE, "the study is closed at this site")
        self._accept_keys_and_aggregate(request.keys, request.committed, blob, ahead)
        self._require_fitting_request(request)
        if self._sealed is None or not self._sealed.answers(request):
            self._require_unreleased(request)
            require_not_begun(self._context, request)
            self._require_newer(request)
            self._record_void_rounds(request)
            keys = require_keys(self._context, request)
            self._sealed = None  # freed before the next one is made: an update may be large
            do_work = do_statistics_round if self._context.terms.counts_only else do_round
            work = do_work(self._context, request)
            self._sealed = seal_attempt(self._context, request, keys, work, on_sealing)
            self._newest = (request.round, request.attempt)
        elif self._sealed.sent is None:
            self._require_unreleased(request)
        sent, header = require_sent(self._sealed), self._sealed.kept.header
        evaluated = self._context.find_totals(header.statement.view.base)
        return Sealed(header=header, ledger=sent.ledger, evaluated=evaluated), sent.update

    def _require_newer(self, request: Train) -> None:
        """Refuse a sealing that is not after the last one, whatever became of that.

        Raises:
            RefusedError: ``stale``.
        """
        if (request.round, request.attempt) <= self._newest:
            raise RefusedError(
                RefusalCode.STALE,
                f"attempt {request.attempt} of round {request.round} is over: this site has sealed attempt "
                f"{self._newest[1]} of round {self._newest[0]}",
            )

    def release(self, request: Release) -> Released:
        """Compare the cohort's headers, and release the own mask.

        Raises:
            RefusedError: as :func:`client.study.seal_round.release_mask`.
        """
        return release_mask(self._context, self._sealed, request)

    def open(self, request: Open, blob: Blob | None, ahead: OpeningAhead | None = None) -> Opened:
        """Open a round that this site missed; ``ahead`` began to decrypt its aggregate while it was fetched.

        Raises:
            RefusedError: as :func:`client.study.apply_aggregate.apply_aggregate`.
            EpochLostError: its key is not held.
        """
        self._accept_keys_and_aggregate(request.keys, request.committed, blob, ahead)
        held = None if request.sign_held is None else sign_held_model(self._context, request.sign_held)
        return Opened(base=self.base, evaluated=self._context.find_totals(self.base), held=held)

    def close(self, request: Close, *, waits: bool = False) -> Closed:
        """Compare the sites' models, write the model and its card, and return what the study did not use.

        If its release ``waits`` for a person, the model is kept unpublished. Asked again, the same answer. Statistics
        are kept; they were opened already, and nothing is released.

        Raises:
            RefusedError: ``behind`` if a round is still to be opened; as
                :func:`client.study.held_models.require_same_model`.
        """
        context = self._context
        if self.base < request.base:
            raise RefusedError(
                RefusalCode.BEHIND, f"this site has applied round {self.base}, not round {request.base}"
            )
        if not context.state.closed:
            require_same_model(context, request.held)
            context.ledger.give_back(context.launch.study)
            withheld = None
            if context.terms.counts_only:
                write_statistics(context)
            else:
                withheld = _release_model(context, waits=waits)
            context.store.save(closed=True, withheld=withheld)  # last: an interrupted close is done again
            context.store.forget_rounding_residual()
            context.store.forget_variates(upto=context.terms.last_round)
        self._sealed = None
        forget_kept_secrets(context.store.folder)
        context.epochs.forget_all_keys()
        return Closed(
            base=self.base,
            evaluated=context.find_totals(self.base),
            ledger=context.ledger.sign_head(),
            epsilon_spent=context.compute_epsilon_spent(),
        )

    def _accept_keys_and_aggregate(
        self,
        keys: KeyParcel | None,
        committed: Committed | None,
        blob: Blob | None,
        ahead: OpeningAhead | None,
    ) -> None:
        if keys is not None:
            self._accept_keys(keys)
        if committed is not None:
            if blob is None:
                raise RefusedError(
                    RefusalCode.REFUSED, f"the aggregate of round {committed.round} did not come with its headers"
                )
            apply_aggregate(self._context, committed, blob, ahead)

    def _accept_keys(self, keys: KeyParcel) -> None:
        """Accept an epoch's keys; if they do not open, refuse them as the lead's fault."""
        try:
            self._context.epochs.accept_keys(keys)
        except EpochLostError:
            raise
        except ProtocolError as error:
            raise RefusedError(RefusalCode.KEYS_REFUSED, str(error)) from None

    def _require_fitting_request(self, request: Train) -> None:
        state, terms = self._context.state, self._context.terms
        if state.base < request.base:
            raise RefusedError(
                RefusalCode.BEHIND, f"this site has applied round {state.base}, not round {request.base}"
            )
        if state.base > request.base or not request.base < request.round <= terms.last_round:
            raise RefusedError(
                RefusalCode.STALE, f"round {request.round} is over here; this site has applied {state.base}"
            )
        if self._context.is_out_of_patience:
            first = list_figures(terms.task, terms.data)[0]
            raise RefusedError(
                RefusalCode.ENOUGH,
                f"the study has ended after round {state.base}, by its own terms: {terms.evaluation.patience} "
                f"evaluations brought no better {first.title}; this site trains no further",
            )
        if list(request.cohort) != sorted(set(request.cohort) & set(self._context.launch.names)):
            raise RefusedError(
                RefusalCode.REFUSED, "a cohort names members of the roster, each once, in rising order"
            )
        if self._context.site not in request.cohort or len(request.cohort) < terms.cohort.minimum:
            raise RefusedError(
                RefusalCode.REFUSED, "a cohort names this site and at least the terms' minimum of sites"
            )
        if request.reference < 1 or state.reference not in (None, request.reference):
            raise RefusedError(
                RefusalCode.REFUSED, f"the study's reference is {state.reference}, not {request.reference}"
            )

    def _record_void_rounds(self, request: Train) -> None:
        """Record the earlier rounds that were begun and never opened: they count, and their cost is spent."""
        for number in range(request.base + 1, request.round):
            sentence = f"round {number} is void: it was begun and yielded nothing; what it cost is spent"
            self._context.ledger.record_incident(self._context.launch.study, "void-round", sentence, number)

    def _require_unreleased(self, request: Train) -> None:
        """Refuse another attempt of a round after its release, and a noiseless sum of another cohort."""
        released = self._context.state.released
        if released is not None and released.round > request.round:
            raise RefusedError(RefusalCode.STALE, f"this site has released its mask of round {released.round}")
        if released is not None and released.round == request.round:
            raise RefusedError(
                RefusalCode.RELEASED, f"this site released its mask of this round in attempt {released.attempt}"
            )
        require_same_cohort(self._context, request.round, request.cohort)


def _release_model(context: StudyContext, *, waits: bool) -> str | None:
    """Write the model, and publish it unless it ``waits`` for a person; return its SHA-256 if it is withheld."""
    model_sha256 = write_release(context)
    if waits:
        return model_sha256
    context.ledger.record_release(context.launch.study, model_sha256)
    publish_release(context.store.folder)
    return None
