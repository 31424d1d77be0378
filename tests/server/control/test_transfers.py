"""The data plane between a real site and a real control server over TLS: cut, slow, lying, oversized, replayed."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.connection.link import StoppingError
from client.connection.transfers import TransferRefusedError
from privacy.control.calls import CALLS
from privacy.control.channel import ControlClient, NotRunningError
from privacy.control.flat_messages import to_message
from privacy.errors import Error, FederationError, RefusedCallError, WireError
from privacy.protocol.chunks import CHUNK_BYTES
from server.control.server import WINDOW_BYTES
from server.control.transfers import Transfers as ServedTransfers
from tests.loopback import wait_for
from tests.server.control.plane import MASK, OTHER_MASK, SITES, Plane, note, stored

LENGTH = 2 * CHUNK_BYTES + 17


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    plane = Plane(tmp_path_factory.mktemp("plane"))
    yield plane
    plane.server.close()


@pytest.fixture
def plane(shared: Plane) -> Plane:
    shared.uploads.clear()
    return shared


def parts(study: str, data: bytes, **first: Any) -> Iterator[dict[str, Any]]:
    yield {"study": study, "mask": MASK, "length": len(data), "offset": 0, **first}
    for start in range(0, len(data), CHUNK_BYTES):
        yield {"data": data[start : start + CHUNK_BYTES]}


def when_allowed(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Make a call, again while the coordinator says that this site calls too often, as a site does."""
    for _ in range(100):
        with contextlib.suppress(NotRunningError):
            return call()
        time.sleep(0.1)
    return call()


# Round trips -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, CHUNK_BYTES - 1, CHUNK_BYTES, LENGTH, 5 * CHUNK_BYTES])
def test_update_and_aggregate_of_any_length_come_through_unchanged(plane: Plane, length: int) -> None:
    data = os.urandom(length)
    plane.uploads.expect("ash", length)
    plane.transfers("ash").send(plane.study, MASK, note(data), data)
    assert stored(plane, "ash") == data
    plane.store_aggregate(1, data)
    for site in SITES:
        assert bytes(plane.transfers(site).fetch(plane.study, 1, note(data))) == data


def test_update_that_is_asked_for_again_is_not_sent_again(plane: Plane) -> None:
    data = os.urandom(LENGTH)
    plane.uploads.expect("ash", LENGTH)
    plane.transfers("ash").send(plane.study, MASK, note(data), data)
    file = plane.uploads.find_path("ash", MASK)
    before = file.stat().st_ino
    plane.transfers("ash").send(plane.study, MASK, note(data), data)
    assert (file.stat().st_ino, file.read_bytes()) == (before, data)


def test_coordinator_takes_little_of_an_upload_that_it_does_not_read(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, piece, reading = 0, bytes(1024), threading.Event()

    def upload(self: ServedTransfers, parts: Iterator[dict[str, Any]], _: Any) -> dict[str, Any]:
        assert reading.wait(60)
        return {"stored": sum(len(each["data"]) for each in parts), "sha256": ""}

    def give() -> Iterator[dict[str, Any]]:
        nonlocal taken
        yield {"study": plane.study, "mask": MASK, "length": 1 << 20, "offset": 0}
        for _ in range(1 << 10):
            taken += len(piece)
            yield {"data": piece}

    monkeypatch.setattr(ServedTransfers, "_upload", upload)
    plane.restart()
    try:
        wait_for_answer = plane.connect("ash").begin_sending("Upload", give())
        seen = -1
        while seen != taken:  # until nothing has been taken for a while
            seen = taken
            time.sleep(0.5)
        assert 0 < seen < 2 * WINDOW_BYTES
        reading.set()
        assert wait_for_answer()["stored"] == 1 << 20
    finally:
        reading.set()
        monkeypatch.undo()
        plane.restart()


def test_update_that_was_added_stays_readable_after_it_is_removed(plane: Plane) -> None:
    data = os.urandom(LENGTH)
    plane.uploads.expect("ash", LENGTH)
    plane.transfers("ash").send(plane.study, MASK, note(data), data)
    mapped = plane.uploads.map("ash", MASK)
    plane.uploads.discard("ash", MASK)
    assert mapped is not None
    assert bytes(mapped) == data
    assert plane.uploads.map("ash", MASK) is None


# Cuts ------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, LENGTH), max_size=3, unique=True))
def test_upload_that_was_cut_anywhere_goes_on_where_it_was(plane: Plane, cuts: list[int]) -> None:
    plane.uploads.clear()
    plane.uploads.expect("birch", LENGTH)
    data, client = os.urandom(LENGTH), plane.connect("birch")

    def find_stored() -> int:
        return int(when_allowed(lambda: client.call("FindUpload", study=plane.study, mask=MASK))["stored"])

    for until in sorted(cuts):
        offset = find_stored()
        assert offset <= until
        sent = [*parts(plane.study, b"", length=LENGTH, offset=offset), {"data": data[offset:until]}]
        when_allowed(partial(client.send, "Upload", sent))
        assert find_stored() == until
    client.close()
    plane.transfers("birch", lambda _, seconds: time.sleep(seconds)).send(plane.study, MASK, note(data), data)
    assert stored(plane, "birch") == data


def test_transfers_wait_for_a_coordinator_that_restarts(plane: Plane) -> None:
    data, reasons = os.urandom(LENGTH), []
    plane.uploads.expect("cedar", LENGTH)
    plane.store_aggregate(2, data)
    plane.server.close()

    def wait(reason: str, _: float) -> None:
        reasons.append(reason)
        if len(reasons) in (2, 5):
            plane.server = plane.serve()

    transfers = plane.transfers("cedar", wait)
    transfers.send(plane.study, MASK, note(data), data)
    assert stored(plane, "cedar") == data
    plane.server.close()
    assert bytes(transfers.fetch(plane.study, 2, note(data))) == data
    assert "cannot be reached" in reasons[0]


def test_fetch_that_is_cut_goes_on_where_it_was(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    data, offsets = os.urandom(3 * CHUNK_BYTES), []
    plane.store_aggregate(3, data)
    whole = ServedTransfers._fetch_aggregate

    def cut(self: ServedTransfers, fields: dict[str, Any], caller: Any) -> Iterator[dict[str, Any]]:
        offsets.append(fields["offset"])
        for number, each in enumerate(whole(self, fields, caller)):
            if number and len(offsets) < 3:
                raise OSError("the line is dead")
            yield each

    monkeypatch.setattr(ServedTransfers, "_fetch_aggregate", cut)
    plane.restart()
    fetched = plane.transfers("ash", lambda *_: None).fetch(plane.study, 3, note(data))
    assert fetched == data
    assert offsets == [0, CHUNK_BYTES, 2 * CHUNK_BYTES]
    monkeypatch.undo()
    plane.restart()


def test_site_that_is_stopped_leaves_a_transfer(plane: Plane) -> None:
    def stop(_: str, __: float) -> None:
        raise StoppingError

    plane.uploads.expect("ash", 3)
    plane.server.close()
    with pytest.raises(StoppingError):
        plane.transfers("ash", stop).send(plane.study, MASK, note(b"abc"), b"abc")
    plane.server = plane.serve()


def test_upload_whose_line_is_dead_is_ended_by_the_next_one(plane: Plane) -> None:
    """A slow or stalled stream holds nothing: the same site begins again, and the old stream can write no more."""
    data, silent, ended = os.urandom(LENGTH), threading.Event(), threading.Event()
    plane.uploads.expect("ash", LENGTH)
    client = plane.connect("ash")

    def stall() -> Iterator[dict[str, Any]]:
        yield from parts(plane.study, data[:CHUNK_BYTES], length=LENGTH)
        silent.set()
        ended.wait(30)
        yield {"data": b"late" * 1000}

    failures: list[Exception] = []

    def upload() -> None:
        try:
            client.send("Upload", stall())
        except Exception as error:
            failures.append(error)

    stalled = threading.Thread(target=upload)
    stalled.start()
    assert silent.wait(30)
    plane.transfers("ash").send(plane.study, MASK, note(data), data)
    ended.set()
    stalled.join(30)
    assert len(failures) == 1
    assert stored(plane, "ash") == data
    client.close()


def test_update_waits_at_its_site_while_the_coordinator_does_not_take_it(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is slow holds the senders back; what they send does not pile up in the coordinator's memory."""
    go_on, taken = threading.Event(), [0]

    def upload(_: ServedTransfers, parts: Iterator[dict[str, Any]], __: Any) -> dict[str, Any]:
        next(parts)
        assert go_on.wait(30)
        return {"stored": sum(len(part["data"]) for part in parts), "sha256": ""}

    def send() -> Iterator[dict[str, Any]]:
        for part in parts(plane.study, bytes(64 * CHUNK_BYTES)):
            taken[0] += len(part.get("data", b""))
            yield part

    monkeypatch.setattr(ServedTransfers, "_upload", upload)
    plane.restart()
    client = plane.connect("ash")
    wait_for_answer = client.begin_sending("Upload", send())
    wait_for("the first part", lambda: taken[0] > 0)
    before = -1
    while before != taken[0]:
        before = taken[0]
        go_on.wait(0.5)
    go_on.set()
    assert wait_for_answer()["stored"] == 64 * CHUNK_BYTES
    client.close()
    monkeypatch.undo()
    plane.restart()
    assert before < 1 << 20


# What is refused -------------------------------------------------------------------------------------------


def test_update_that_nobody_expects_is_refused_before_anything_is_stored(plane: Plane) -> None:
    with pytest.raises(TransferRefusedError, match="no update of 'ash' is expected"):
        plane.transfers("ash").send(plane.study, MASK, note(b"abc"), b"abc")
    assert not plane.uploads.folder.exists()


@pytest.mark.parametrize("length", [LENGTH - 1, LENGTH + 1, 1 << 40])
def test_update_of_another_length_is_refused_before_a_byte_is_stored(plane: Plane, length: int) -> None:
    plane.uploads.expect("ash", LENGTH)
    with pytest.raises(RefusedCallError, match=f"an update of {length} bytes is refused, expected {LENGTH}"):
        plane.connect("ash").send("Upload", parts(plane.study, b"x", length=length))
    assert stored(plane, "ash") == b""


def test_stream_with_more_than_was_announced_is_cut_at_the_length(plane: Plane) -> None:
    plane.uploads.expect("ash", LENGTH)
    with pytest.raises(RefusedCallError, match="more than the"):
        plane.connect("ash").send("Upload", parts(plane.study, bytes(50 * CHUNK_BYTES), length=LENGTH))
    assert len(stored(plane, "ash")) <= LENGTH


def test_calls_that_write_at_the_same_place_at_once_leave_one_whole_update(plane: Plane) -> None:
    """Attack: several streams continue one upload; none may still write once the file is whole and verified."""
    data = os.urandom(LENGTH)
    plane.uploads.expect("ash", LENGTH)
    clients = [plane.connect("ash") for _ in range(4)]
    begin = threading.Barrier(len(clients))

    def upload(client: ControlClient) -> None:
        begin.wait(30)
        with contextlib.suppress(Error):  # one is ended by another
            client.send("Upload", parts(plane.study, data))

    threads = [threading.Thread(target=upload, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    plane.transfers("ash").send(plane.study, MASK, note(data), data)
    assert stored(plane, "ash") == data
    for client in clients:
        client.close()


def test_whole_update_takes_no_further_byte(plane: Plane) -> None:
    data = os.urandom(LENGTH)
    plane.uploads.expect("ash", LENGTH)
    plane.transfers("ash").send(plane.study, MASK, note(data), data)
    first = {"study": plane.study, "mask": MASK, "length": LENGTH, "offset": LENGTH}
    with pytest.raises(RefusedCallError, match="more than the"):
        plane.connect("ash").send("Upload", [first, {"data": b"x"}])
    assert stored(plane, "ash") == data


def test_update_that_was_added_is_not_sent_a_second_time(plane: Plane) -> None:
    """The site was asked twice, and answers the second question after its first answer was used."""
    data = os.urandom(LENGTH)
    plane.uploads.expect("ash", LENGTH)
    plane.transfers("ash").send(plane.study, MASK, note(data), data)
    plane.uploads.expect_no_more("ash")
    plane.uploads.discard("ash", MASK)
    with pytest.raises(TransferRefusedError, match="no update of 'ash' is expected"):
        plane.transfers("ash").send(plane.study, MASK, note(data), data)


def test_upload_ends_when_the_run_that_expected_it_has_ended(plane: Plane) -> None:
    plane.uploads.expect("ash", LENGTH)
    client, sent = plane.connect("ash"), threading.Event()

    def stream() -> Iterator[dict[str, Any]]:
        yield from parts(plane.study, bytes(CHUNK_BYTES), length=LENGTH)
        wait_for("the first part", lambda: len(stored(plane, "ash")) == CHUNK_BYTES)
        plane.uploads.clear()
        sent.set()
        yield {"data": bytes(CHUNK_BYTES)}

    with pytest.raises(RefusedCallError, match="not expected any more"):
        client.send("Upload", stream())
    assert sent.is_set()
    client.close()


def test_streams_without_a_request_hold_few_threads_and_keep_nobody_waiting(plane: Plane) -> None:
    """Attack: a member opens many streams and sends nothing on them."""
    silent, client = threading.Event(), plane.connect("birch")

    def nothing() -> Iterator[dict[str, Any]]:
        silent.wait(60)
        yield from ()

    def open_one() -> None:
        with contextlib.suppress(Error):
            client.send("Upload", nothing())

    threads = [threading.Thread(target=open_one) for _ in range(40)]
    for thread in threads:
        thread.start()
    data = os.urandom(1000)
    plane.uploads.expect("ash", 1000)
    plane.transfers("ash").send(plane.study, MASK, note(data), data)
    silent.set()
    for thread in threads:
        thread.join(60)
    client.close()


def test_upload_that_leaves_a_gap_is_refused(plane: Plane) -> None:
    plane.uploads.expect("ash", LENGTH)
    with pytest.raises(RefusedCallError, match="cannot continue at 7: 0 bytes are here"):
        plane.connect("ash").send("Upload", parts(plane.study, b"x", length=LENGTH, offset=7))


def test_update_that_the_run_has_mapped_does_not_become_shorter(plane: Plane) -> None:
    """Attack: a site begins its upload anew, or inside of it, while it is added; the run must not die of it."""
    data = os.urandom(LENGTH)
    plane.uploads.expect("ash", LENGTH)
    plane.transfers("ash").send(plane.study, MASK, note(data), data)
    mapped = plane.uploads.map("ash", MASK)
    assert mapped is not None
    client = plane.connect("ash")
    with pytest.raises(RefusedCallError, match=f"cannot continue at 5: {LENGTH} bytes are here"):
        client.send("Upload", parts(plane.study, b"x", length=LENGTH, offset=5))
    client.send("Upload", parts(plane.study, b"x", length=LENGTH))
    assert bytes(mapped) == data
    client.close()


@pytest.mark.parametrize("mask", ["", "../../identity.key", "A" * 64, "5" * 63, "expected", "5" * 64 + "/x"])
def test_upload_without_a_mask_is_refused(plane: Plane, mask: str) -> None:
    plane.uploads.expect("ash", LENGTH)
    with pytest.raises(RefusedCallError, match="named by its header's mask"):
        plane.connect("ash").call("FindUpload", study=plane.study, mask=mask)
    with pytest.raises(RefusedCallError, match="named by its header's mask"):
        plane.connect("ash").send("Upload", parts(plane.study, b"x", length=LENGTH, mask=mask))
    assert [path.name for path in (plane.uploads.folder / "ash").iterdir()] == ["expected"]


@pytest.mark.parametrize("study", ["", "..", "../../etc", "another-5f3a9c21"])
def test_transfer_of_a_study_that_is_not_there_is_refused(plane: Plane, study: str) -> None:
    client = plane.connect("ash")
    with pytest.raises(FederationError, match="there is no study"):
        client.call("FindUpload", study=study, mask=MASK)
    with pytest.raises(FederationError, match="there is no study"):
        client.send("Upload", parts(study, b"x"))
    with pytest.raises(FederationError, match="there is no study"):
        list(client.stream("FetchAggregate", study=study, round=1, offset=0))


def test_site_reaches_its_own_upload_alone(plane: Plane) -> None:
    """Another member sends under the same mask: each has a file of its own, named by its certificate."""
    data = os.urandom(LENGTH)
    for site in ("ash", "birch"):
        plane.uploads.expect(site, LENGTH)
    plane.transfers("ash").send(plane.study, MASK, note(data), data)
    assert plane.connect("birch").call("FindUpload", study=plane.study, mask=MASK)["stored"] == 0
    other = os.urandom(LENGTH)
    plane.transfers("birch").send(plane.study, MASK, note(other), other)
    assert (stored(plane, "ash"), stored(plane, "birch")) == (data, other)


def test_site_that_was_not_invited_gets_no_aggregate_and_leaves_no_update(plane: Plane) -> None:
    plane.store_aggregate(4, b"sum")
    with pytest.raises(TransferRefusedError, match="'elm' was not invited"):
        plane.transfers("elm").fetch(plane.study, 4, note(b"sum"))
    with pytest.raises(TransferRefusedError, match="'elm' was not invited"):
        plane.transfers("elm").send(plane.study, MASK, note(b"abc"), b"abc")


def test_aggregate_that_is_not_there_is_refused(plane: Plane) -> None:
    with pytest.raises(TransferRefusedError, match="there is no aggregate of round 99"):
        plane.transfers("ash").fetch(plane.study, 99, note(b"sum"))


def test_person_and_stranger_reach_no_transfer(plane: Plane) -> None:
    local = ControlClient.local(plane.federation.folder)
    with pytest.raises(RefusedCallError):
        local.call("FindUpload", study=plane.study, mask=MASK)
    secure = grpc.ssl_channel_credentials(plane.federation.tls.ca.read_bytes())
    request = to_message(CALLS["FindUpload"].request, {"study": plane.study, "mask": MASK}).SerializeToString()
    address = f"localhost:{plane.federation.config.control_port}"
    with grpc.secure_channel(address, secure) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary("/consilium.v1.Transfer/FindUpload")(request, timeout=10)


# Lies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("served", [b"another sum", b"the sum", b"the sum itself and more", b""])
def test_aggregate_that_is_not_the_one_of_the_signed_message_is_not_used(plane: Plane, served: bytes) -> None:
    plane.store_aggregate(5, served)
    with pytest.raises(WireError, match="the aggregate of round 5"):
        plane.transfers("ash").fetch(plane.study, 5, note(b"the sum itself"))


def test_fetch_takes_no_more_than_was_named(plane: Plane) -> None:
    """A coordinator, or who sits in its place, fills no site's disk."""
    plane.store_aggregate(6, bytes(40 * CHUNK_BYTES))
    with pytest.raises(WireError, match="more than the 10 bytes named"):
        plane.transfers("ash").fetch(plane.study, 6, note(bytes(10)))


def test_rest_of_another_sealing_is_not_mixed_into_an_update(plane: Plane) -> None:
    """A site restarts in the middle and seals anew: its mask is another one, and the old part is removed."""
    old, new = os.urandom(LENGTH), os.urandom(LENGTH)
    plane.uploads.expect("ash", LENGTH)
    client = plane.connect("ash")
    client.send("Upload", parts(plane.study, old[:CHUNK_BYTES], length=LENGTH))
    plane.transfers("ash").send(plane.study, OTHER_MASK, note(new), new)
    assert stored(plane, "ash", OTHER_MASK) == new
    assert plane.uploads.map("ash", MASK) is None


@pytest.mark.parametrize("left", [CHUNK_BYTES, LENGTH])
def test_bytes_that_are_no_part_of_the_update_are_noticed_and_sent_again(plane: Plane, left: int) -> None:
    """Other bytes are at the coordinator under the same name: a damaged disk, or somebody who means it."""
    data = os.urandom(LENGTH)
    plane.uploads.expect("ash", LENGTH)
    plane.uploads.find_path("ash", MASK).write_bytes(bytes(left))
    plane.transfers("ash").send(plane.study, MASK, note(data), data)
    assert stored(plane, "ash") == data


def test_coordinator_that_stores_something_else_is_noticed(plane: Plane) -> None:
    data = os.urandom(LENGTH)
    plane.uploads.expect("ash", LENGTH)
    with pytest.raises(TransferRefusedError, match="stored another update"):
        plane.transfers("ash").send(plane.study, MASK, note(os.urandom(LENGTH)), data)
