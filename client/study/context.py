"""Everything that one site needs for one admitted study."""

from dataclasses import dataclass
from itertools import takewhile

from client.study.history import StudyHistory
from client.study.kept_secrets import KeptSecrets, find_epochs_to_keep
from client.study.key_epochs import Epochs
from client.study.peer_heads import PeerHeads
from client.study.state import StudyState
from client.study.store import StudyStore
from client.training.interface import TrainingInterface
from privacy.canonical import to_canonical
from privacy.errors import RefusedError
from privacy.keys import SigningKey, compute_keyed_digest
from privacy.ledger import Ledger
from privacy.ledger.signed_head import LedgerHead
from privacy.ledger.signing import Head
from privacy.protocol.headers import Evaluated, Header, HeadReference, LostHead, compute_headers_digest
from privacy.refusal_codes import RefusalCode
from privacy.secure_aggregation.quantise import Grid
from privacy.secure_aggregation.round_layout import compute_shape_digest, make_grid
from privacy.signed import Signed
from privacy.study import Terms
from privacy.study.launch import Launch


@dataclass(frozen=True)
class StudyContext:
    """One site in one study: its name and keys, its files, its ledger, what it knows of others', and its trainer."""

    site: str
    identity: SigningKey
    patients: int
    store: StudyStore
    ledger: Ledger
    training: TrainingInterface
    epochs: Epochs
    kept: KeptSecrets
    peer_heads: PeerHeads

    @property
    def launch(self) -> Launch:
        """The study's launch."""
        return self.store.launch

    @property
    def terms(self) -> Terms:
        """The study's terms."""
        return self.store.launch.terms

    @property
    def state(self) -> StudyState:
        """How far this site has come."""
        return self.store.state

    @property
    def history(self) -> StudyHistory:
        """What this site has done in the study."""
        return self.store.history

    @property
    def is_out_of_patience(self) -> bool:
        """Whether the totals that this site has opened end the study, by its terms."""
        return self.history.rank(self.terms).are_out_of_patience

    def find_last_part(self, base: int | None = None) -> int | None:
        """Return the last training round, up to round ``base``, whose cohort had this site; None before one.

        Without ``base``, up to now; only applied rounds count. What a round makes of the vectors that stay here
        holds only if the round is applied with this site.
        """
        upto = self.state.base if base is None else base
        applied = (each for each in reversed(self.history.applied) if each.round <= upto)
        with_this_site = (each.round for each in applied if self.site in each.sites)
        return next((number for number in with_this_site if self.terms.trains(number)), None)

    def keep_keys(self, *epochs: int) -> None:
        """Keep the study keys of ``epochs``, and those that others may need, across a restart; no others."""
        needed = find_epochs_to_keep(self.history.applied, self.launch.names)
        self.kept.keep_keys(self.epochs.find_held_keys(needed | set(epochs)))

    def forget_unneeded_secrets(self) -> None:
        """Remove secrets that no round needs any more: those of an attempt whose round is applied, and old keys."""
        attempt = self.kept.load_attempt()
        if attempt is not None and attempt.round > self.state.base:
            self.keep_keys(attempt.epoch)
        else:
            self.kept.forget_attempt()
            self.keep_keys()

    def read_head(self) -> HeadReference:
        """Return the ledger's head: number and hash of its last entry, and what it took over from a lost one."""
        return self.refer_to(self.ledger.head)

    def refer_to(self, head: Head | LedgerHead) -> HeadReference:
        """Return what others are shown of a head of this site's ledger."""
        lost = self.ledger.read_state().recovered
        recovered = None if lost is None else LostHead(number=lost.number, hash=lost.hash)
        return HeadReference(number=head.number, hash=head.hash, recovered=recovered)

    def read_kept_headers(self, round: int, attempt: int) -> dict[str, Signed[Header]]:
        """Read the headers of an attempt that this site has kept, by site; the keys of this launch have signed them.

        Only headers whose view names this launch, and whose signatures were verified, were kept.
        """
        return self.peer_heads.read_attempt(self.launch.study, round, attempt)

    def digest_last_headers(self) -> str:
        """Digest the headers of the round that this site has applied last.

        Raises:
            RefusedError: ``lost`` if what this site has seen of others' ledgers is lost, or older than its study.
        """
        headers = self.peer_heads.read_committed(self.launch.study, self.state.base)
        if self.state.base and not headers:
            raise RefusedError(
                RefusalCode.LOST,
                f"what this site has seen of the others' ledgers in round {self.state.base} is lost (peers.sqlite); "
                f"this site's people restore it from their backup, or end the study here: consilium-site withdraw "
                f"{self.launch.study}",
            )
        return compute_headers_digest(headers)

    def digest_shape(self, number: int, room: int) -> str:
        """Digest what a cohort must agree on before it seals round ``number``, with ``room`` for patients."""
        state = self.state
        return compute_shape_digest(self.launch, number, state.base, state.halvings, room, state.noise_multiplier)

    def make_update_grid(self, halvings: int) -> Grid:
        """Make the grid of this site's update with local noise, its range halved ``halvings`` times."""
        return make_grid(self.terms, halvings, self.state.noise_multiplier)

    def compute_epsilon_spent(self) -> float | None:
        """Compute what this study alone has spent here, from public quantities; None without privacy."""
        delta = self.terms.privacy.delta
        return (
            None
            if delta is None
            else self.ledger.read_state()
            .find_account_of_study(self.launch.study)
            .compute_study_epsilon(self.launch.study, delta)
        )

    def find_totals(self, base: int) -> Evaluated | None:
        """Return the opened totals of the aggregate that made round ``base``; None if it carried none."""
        newer_or_it = takewhile(lambda each: each.opened_in >= base, reversed(self.history.evaluations))
        return next((each for each in newer_or_it if each.opened_in == base), None)

    def digest_held_models(self, epoch: int) -> str:
        """Digest the held model and the best one, so that only holders of the epoch's key can compare them."""
        key = self.epochs.find_study_key(epoch).digest_key
        best = None if self.state.best is None else self.state.best.sha256
        return compute_keyed_digest(key, to_canonical({"model": self.state.model_sha256, "best": best}))

    def digest_shared_model(self, epoch: int) -> str:
        """Digest the shared model and moments, so that only holders of the epoch's key can compute it."""
        key = self.epochs.find_study_key(epoch).digest_key
        return compute_keyed_digest(key, self.state.model_sha256.encode("ascii"))
