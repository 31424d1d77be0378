"""An aggregate is decrypted while it is fetched, from a control server that cuts, lies, and chooses ciphertexts.

The server is real, over TLS. The model is large enough for two blocks, of which a site decrypts the first before the
second has come.
"""

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from client.connection.blob_exchange import BlobExchange
from client.connection.link import StoppingError
from client.connection.transfers import Transfers
from client.study import opening_ahead
from client.study.opening_ahead import OpeningAhead
from client.study.request_handler import RequestHandler
from privacy.control.channel import Caller, ControlClient
from privacy.errors import WireError
from privacy.growing_file import GrowingFile
from privacy.ledger.entries import Incident
from privacy.protocol.envelope import Body, read_body
from privacy.protocol.headers import Committed
from privacy.protocol.messages import Open, Opened, Problem, Reply
from privacy.secure_aggregation.layout import BLOCK, Layout
from privacy.secure_aggregation.round_layout import layout_of
from privacy.secure_aggregation.schemes.bfv_parameters import COEFFICIENT_MODULUS, POLYNOMIAL_BYTES, SLOTS
from privacy.secure_aggregation.schemes.coefficients import pack_polynomial
from server.control.caller import Caller as ServedCaller
from server.control.server import ControlServer
from server.control.transfers import Transfers as ServedTransfers
from server.superlink.process import find_free_port
from tests.attacks.test_begun_attempts import TERMS
from tests.loopback import wait_for
from tests.protocol.conftest import Found
from tests.protocol.mallory import Mallory, in_charge
from tests.simulator import FOUR, PowerCut

Serve = Callable[[int], Iterator[bytes]]
"""What the coordinator serves from an offset."""
NAMED = "is not the one that the message names"


class Coordinator:
    """Mallory, with a control server that serves round 1's aggregate, or whatever a test says."""

    def __init__(self, mallory: Mallory) -> None:
        self.mallory = mallory
        self.simulator = mallory.simulator
        self.committed, self.aggregate = mallory.honest_round()
        self.serve: Serve = self.serve_honestly
        served = ServedTransfers(self.simulator.federation)
        self.address = "127.0.0.1", find_free_port()
        self.server = ControlServer(
            self.simulator.federation,
            served.handlers,
            {"FetchAggregate": self._stream},
            self.address,
            served.receivers,
        )

    @property
    def layout(self) -> Layout:
        return layout_of(self.mallory.launch.statement, 1, 0)

    @property
    def first_block(self) -> int:
        """Bytes of the first block."""
        return BLOCK * self.layout.cipher.compute_sum_bytes(len(FOUR))

    def serve_honestly(self, offset: int) -> Iterator[bytes]:
        for start in range(offset, len(self.aggregate), 1 << 16):
            yield self.aggregate[start : start + (1 << 16)]

    def serve_bytes(self, data: bytes) -> None:
        """Serve these in place of the aggregate that the message names."""
        self.serve = lambda offset: iter(
            [data[start : start + (1 << 16)] for start in range(offset, len(data), 1 << 16)]
        )

    def _stream(self, fields: dict[str, Any], _: ServedCaller) -> Iterator[dict[str, Any]]:
        for data in self.serve(fields["offset"]):
            yield {"data": data}


class Site:
    """One site, which fetches as the installed program does; ``ahead`` is what it last began to decrypt so."""

    def __init__(self, coordinator: Coordinator, name: str) -> None:
        self.coordinator, self.name = coordinator, name
        self.ahead: OpeningAhead | None = None
        self.reasons: list[str] = []
        home = coordinator.simulator.homes[name]
        (home.folder / "studies").mkdir(exist_ok=True)
        host, port = coordinator.address
        key = home.load_identity()

        def connect() -> ControlClient:
            caller = Caller("wood", name, key)
            return ControlClient.remote(
                f"{host}:{port}", home.ca_path.read_bytes(), home.credentials.load(), caller
            )

        self.wait: Callable[[str, float], None] = lambda reason, _: self.reasons.append(reason)
        self.exchange = BlobExchange(
            name,
            self.handler.answer,
            Transfers(connect, home.folder / "studies", self._wait),
            coordinator.simulator.federation.load_identity().public,
            self.handler.compute_blob_limit,
            self._begin,
        )

    @property
    def handler(self) -> RequestHandler:
        return self.coordinator.simulator.sites[self.name]

    def _wait(self, reason: str, pause: float) -> None:
        self.wait(reason, pause)

    def _begin(self, body: Body, file: GrowingFile) -> None:
        self.handler.open_ahead(body, file)
        self.ahead = self.handler._ahead

    def open(self, aggregate: bytes | None = None, committed: Committed | None = None) -> Reply:
        """Ask it to open the round; the message names ``aggregate``, or the honest one."""
        request = Open(committed=committed or self.coordinator.committed)
        named = self.coordinator.aggregate if aggregate is None else aggregate
        envelope = self.coordinator.simulator.signed(self.name, request, named)
        content = read_body(self.exchange.answer(replace(envelope, blobs=()))).content
        assert isinstance(content, Reply)
        return content

    def require_wiped(self) -> None:
        """Of what was decrypted nothing is left, and the thread is over."""
        assert self.ahead is not None
        self.ahead._thread.join(30)
        assert not self.ahead._thread.is_alive()
        opening = self.ahead._opening
        assert not opening._values.any()
        assert (opening._totals, opening._count, set(opening._checks)) == ([], 0, {0})

    def snapshot(self) -> dict[str, bytes]:
        """Everything in its folder."""
        folder = self.coordinator.simulator.homes[self.name].folder
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).digest()
            for path in folder.rglob("*")
            if path.is_file() and not path.name.endswith("-shm")
        }


@pytest.fixture
def coordinator(found: Found, monkeypatch: pytest.MonkeyPatch) -> Iterator[Coordinator]:
    monkeypatch.setattr(opening_ahead, "WORTH_IT", 2)
    coordinator = Coordinator(in_charge(found(TERMS)))
    assert len(coordinator.layout.blocks) == 2
    yield coordinator
    coordinator.server.close()


def with_firsts(coordinator: Coordinator, parts: range, seed: int) -> bytes:
    """The aggregate with other first polynomials in some ciphertexts: chosen ciphertexts, with the same seeds."""
    size, altered = coordinator.layout.cipher.compute_sum_bytes(len(FOUR)), bytearray(coordinator.aggregate)
    generator = np.random.default_rng(seed)
    for part in parts:
        drawn = generator.integers(0, COEFFICIENT_MODULUS, SLOTS, dtype=np.uint64)
        altered[part * size : part * size + POLYNOMIAL_BYTES] = pack_polynomial(drawn)
    return bytes(altered)


def test_first_block_is_decrypted_while_the_second_is_on_its_way(coordinator: Coordinator) -> None:
    site = Site(coordinator, "ash")

    def serve(offset: int) -> Iterator[bytes]:
        yield coordinator.aggregate[offset : coordinator.first_block]

        def is_decrypted() -> bool:
            return site.ahead is not None and site.ahead._opening._count == len(FOUR)

        wait_for("the first block to be decrypted", is_decrypted)
        yield coordinator.aggregate[coordinator.first_block :]

    coordinator.serve = serve
    assert site.open() == Opened(base=1, evaluated=None)
    coordinator.mallory.open("birch", coordinator.committed, coordinator.aggregate)
    ash, birch = (coordinator.simulator.store(name).read_model() for name in ("ash", "birch"))
    assert np.array_equal(ash, birch)


def test_line_that_is_cut_within_a_block_goes_on_where_it_was(coordinator: Coordinator) -> None:
    offsets: list[int] = []

    def serve(offset: int) -> Iterator[bytes]:
        offsets.append(offset)
        yield coordinator.aggregate[offset : offset + 100_000]
        if len(offsets) < 3:
            raise OSError("the line is dead")
        yield from coordinator.serve_honestly(offset + 100_000)

    coordinator.serve = serve
    site = Site(coordinator, "ash")
    assert site.open() == Opened(base=1, evaluated=None)
    assert offsets == [0, 100_000, 200_000]
    assert site.ahead is not None


@pytest.mark.parametrize(
    "lie", ["first block", "last block", "malformed", "short", "nothing", "long", "other seeds"]
)
def test_other_bytes_than_the_message_names_leave_nothing_at_the_site(
    coordinator: Coordinator, lie: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Attack: the coordinator signs for the honest aggregate and sends another, as often as it likes.

    Whatever the ciphertexts are, the site says the same, writes and logs nothing, and the key epoch is not touched.
    """
    honest, site = coordinator.aggregate, Site(coordinator, "ash")
    served = {
        "first block": [with_firsts(coordinator, range(BLOCK), seed) for seed in range(2)],
        "last block": [with_firsts(coordinator, range(BLOCK, coordinator.layout.parts), seed) for seed in range(2)],
        "malformed": [b"\xff" * POLYNOMIAL_BYTES + honest[POLYNOMIAL_BYTES:]],
        "short": [honest[:-1], honest[: coordinator.first_block]],
        "nothing": [b""],
        "long": [honest + b"1", with_firsts(coordinator, range(1), 0) + bytes(1 << 20)],
        "other seeds": [honest[:POLYNOMIAL_BYTES] + os.urandom(32) + honest[POLYNOMIAL_BYTES + 32 :]],
    }[lie]
    caplog.set_level(logging.INFO)
    before, said = site.snapshot(), set[str]()
    for data in served:
        coordinator.serve_bytes(data)
        with pytest.raises(WireError) as refused:
            site.open()
        said.add(str(refused.value))
        site.require_wiped()
    if lie == "long":
        assert said == {f"the aggregate of round 1 has more than the {len(honest)} bytes named"}
    else:
        assert said == {f"the aggregate of round 1 {NAMED}"}
    assert site.snapshot() == before
    assert caplog.text == ""
    coordinator.serve = coordinator.serve_honestly
    assert site.open() == Opened(base=1, evaluated=None)


@pytest.mark.parametrize("parts", [range(1), range(BLOCK, BLOCK + 1)], ids=["first block", "last block"])
def test_chosen_ciphertexts_under_a_message_that_names_them_are_refused_once(
    coordinator: Coordinator, parts: range
) -> None:
    """Attack: message and bytes agree. It is the one refusal of the epoch, in the words of who opened at once."""
    altered = with_firsts(coordinator, parts, 7)
    at_once = coordinator.mallory.open("birch", coordinator.committed, altered)
    coordinator.serve_bytes(altered)
    site = Site(coordinator, "ash")
    refused = site.open(altered)
    assert isinstance(refused, Problem)
    assert refused == at_once
    assert site.ahead is not None
    ash, birch = (coordinator.simulator.entries(name, "incident")[-1].body for name in ("ash", "birch"))
    assert isinstance(ash, Incident)
    assert ash == birch
    site.ahead, coordinator.serve = None, coordinator.serve_honestly
    again = site.open()
    assert isinstance(again, Problem)
    assert "has ended here" in again.sentence
    assert site.ahead is None, "decrypted with the key of an epoch that has ended"


def test_message_that_is_refused_for_another_reason_leaves_nothing_decrypted(coordinator: Coordinator) -> None:
    """The headers show another round than the message says: refused as before, whatever was decrypted meanwhile."""
    another = coordinator.committed.model_copy(update={"attempt": 2})
    site = Site(coordinator, "ash")
    refused = site.open(committed=another)
    assert isinstance(refused, Problem)
    assert refused == coordinator.mallory.open("birch", another, coordinator.aggregate)
    site.require_wiped()


def test_site_that_stops_in_mid_fetching_leaves_nothing(coordinator: Coordinator) -> None:
    def serve(offset: int) -> Iterator[bytes]:
        yield coordinator.aggregate[offset : coordinator.first_block]
        raise OSError("the line is dead")

    def stop(_: str, __: float) -> None:
        raise StoppingError

    coordinator.serve = serve
    site = Site(coordinator, "ash")
    before, site.wait = site.snapshot(), stop
    with pytest.raises(StoppingError):
        site.open()
    site.require_wiped()
    assert site.snapshot() == before
    assert not any(thread.name == "opening" for thread in threading.enumerate())


def test_site_that_is_killed_in_mid_fetching_opens_the_round_when_it_is_back(coordinator: Coordinator) -> None:
    def serve(offset: int) -> Iterator[bytes]:
        yield coordinator.aggregate[offset : coordinator.first_block]
        raise OSError("the line is dead")

    def die(_: str, __: float) -> None:
        raise PowerCut

    coordinator.serve = serve
    site = Site(coordinator, "ash")
    site.wait = die
    with pytest.raises(PowerCut):
        site.open()
    coordinator.simulator.restart_site("ash")
    coordinator.serve = coordinator.serve_honestly
    assert Site(coordinator, "ash").open() == Opened(base=1, evaluated=None)
