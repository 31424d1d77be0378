"""A coordinator that says what it likes. Every call is one exchange with real sites; nothing here is honest."""

from collections.abc import Mapping, Sequence

from privacy.ledger.entries import Incident
from privacy.ledger.signed_head import Countersigned, LedgerHead
from privacy.protocol.headers import Committed, Header
from privacy.protocol.key_messages import KeyParcel, Wrap, Wrappings
from privacy.protocol.messages import Join, Joined, Open, Problem, Release, Released, Reply, Sealed, Train
from privacy.secure_aggregation.aggregate import Aggregate
from privacy.secure_aggregation.round_layout import layout_of
from privacy.signed import Signed
from privacy.study import COORDINATOR
from privacy.study.launch import SignedLaunch
from tests.simulator import Simulator

REFERENCE = 90


class Mallory:
    """Drives the sites by hand. Updates are kept by (site, round, attempt), as a malicious coordinator would."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.launch = simulator.journal.read_launch()
        self.names = simulator.names
        self.keys: dict[int, KeyParcel] = {}
        self.witnessed: dict[str, Countersigned] = {}
        self.blobs: dict[tuple[str, int, int], bytes] = {}
        self.headers: dict[tuple[str, int, int], Signed[Header]] = {}

    def join(self, name: str, epoch: int = 1, launch: SignedLaunch | None = None) -> Reply:
        reply, _ = self.simulator.exchange(name, Join(launch=launch or self.launch, epoch=epoch))
        if isinstance(reply, Joined):
            self.saw(name, reply.ledger)
        return reply

    def saw(self, name: str, head: Signed[LedgerHead]) -> None:
        """Countersign a head, as sites ask for."""
        key = self.simulator.federation.load_identity()
        self.witnessed[name] = Countersigned.sign(key, COORDINATOR, head)

    def key(
        self, epoch: int = 1, names: Sequence[str] = (), lead: str = "", earlier: tuple[int, ...] = ()
    ) -> KeyParcel:
        """A key epoch for ``names`` (all, if none), honestly made."""
        offers = {}
        for name in names or self.names:
            joined = self.join(name, epoch)
            assert isinstance(joined, Joined), joined
            offers[name] = joined.offer
        reply, _ = self.simulator.exchange(lead or min(offers), Wrap(epoch=epoch, offers=offers, earlier=earlier))
        assert isinstance(reply, Wrappings), reply
        self.keys[epoch] = KeyParcel(offers=offers, grant=reply.grant)
        return self.keys[epoch]

    def train(
        self,
        name: str,
        number: int = 1,
        attempt: int = 1,
        *,
        cohort: Sequence[str] = (),
        epoch: int = 1,
        base: int = 0,
        reference: int = REFERENCE,
        room: int = 0,
        keys: KeyParcel | None = None,
        committed: tuple[Committed, bytes] | None = None,
        witnessed: Countersigned | None = None,
    ) -> Reply:
        request = Train(
            round=number,
            attempt=attempt,
            epoch=epoch,
            base=base,
            cohort=tuple(cohort or self.names),
            reference=reference,
            room=room,
            keys=keys or self.keys.get(epoch),
            committed=committed[0] if committed else None,
            witnessed=witnessed or self.witnessed.get(name),
        )
        reply, blobs = self.simulator.exchange(name, request, *(committed[1:] if committed else ()))
        if isinstance(reply, Sealed):
            self.saw(name, reply.ledger)
            self.blobs[name, number, attempt], self.headers[name, number, attempt] = bytes(blobs[0]), reply.header
        return reply

    def seal(self, number: int = 1, attempt: int = 1, *, cohort: Sequence[str] = (), base: int = 0) -> None:
        """Everybody of the cohort seals, as an honest coordinator would ask."""
        for name in cohort or self.names:
            reply = self.train(name, number, attempt, cohort=cohort, base=base)
            assert isinstance(reply, Sealed), reply

    def headers_of(self, number: int = 1, attempt: int = 1) -> dict[str, Signed[Header]]:
        return {name: header for (name, *rest), header in self.headers.items() if rest == [number, attempt]}

    def release(
        self, name: str, number: int = 1, attempt: int = 1, headers: Mapping[str, Signed[Header]] | None = None
    ) -> Reply:
        sent = dict(self.headers_of(number, attempt) if headers is None else headers)
        return self.simulator.exchange(name, Release(round=number, attempt=attempt, headers=sent))[0]

    def seeds(self, number: int = 1, attempt: int = 1, names: Sequence[str] = ()) -> dict[str, bytes]:
        """Everybody's released seeds."""
        found = {}
        for name in names or self.names:
            reply = self.release(name, number, attempt)
            assert isinstance(reply, Released), reply
            found[name] = bytes.fromhex(reply.seed)
        return found

    def aggregate(
        self, blobs: Sequence[bytes], seeds: Mapping[str, bytes], number: int = 1, attempt: int = 1, base: int = 0
    ) -> bytes:
        """The sum of ``blobs`` less the masks of ``seeds``: of these, or of any others."""
        total = Aggregate(layout_of(self.launch.statement, number, base))
        for blob in blobs:
            total.add(blob)
        context = next(iter(self.headers_of(number, attempt).values())).statement.view.to_bytes()
        total.subtract_masks(seeds, context)
        return total.to_bytes()

    def committed(self, number: int = 1, attempt: int = 1, epoch: int = 1, cohort: Sequence[str] = ()) -> Committed:
        return Committed(
            round=number,
            attempt=attempt,
            epoch=epoch,
            cohort=tuple(cohort or self.names),
            headers=self.headers_of(number, attempt),
        )

    def honest_round(self, number: int = 1, base: int = 0) -> tuple[Committed, bytes]:
        """A round as it should be, not yet opened by anybody."""
        self.seal(number, base=base)
        blobs = [self.blobs[name, number, 1] for name in self.names]
        return self.committed(number), self.aggregate(blobs, self.seeds(number), number, base=base)

    def open(self, name: str, committed: Committed, aggregate: bytes, keys: KeyParcel | None = None) -> Reply:
        request = Open(keys=keys or self.keys.get(committed.epoch), committed=committed)
        return self.simulator.exchange(name, request, aggregate)[0]


def in_charge(simulator: Simulator) -> Mallory:
    """Of a study whose first key epoch is honestly made."""
    mallory = Mallory(simulator)
    mallory.key()
    return mallory


def require_unexplained(mallory: Mallory, name: str, reply: Reply, why: str) -> None:
    """An aggregate did not open at a site: its ledger says why, and its answer does not.

    Which rule broke, and the number that broke it, are functions of what was decrypted.
    """
    require_refused(reply, "opening-failed", "its aggregate does not hold; this site's ledger says why")
    assert isinstance(reply, Problem)
    last = mallory.simulator.entries(name, "incident")[-1].body
    assert isinstance(last, Incident)
    assert why in last.sentence
    assert why not in reply.sentence


def require_refused(reply: Reply, code: str, sentence: str) -> None:
    """A site's answer is a refusal with this code, and says this."""
    assert isinstance(reply, Problem), reply
    assert reply.code == code
    assert sentence in reply.sentence
