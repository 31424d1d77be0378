"""Blocks of an update leave while later ones are sealed; the site, or its sealing, dies before the header is there.

What has left stays under an own mask whose seed dies with the process, and the attempt is never sealed a second time.
The model is large enough for two blocks. Everybody else conspires, and has the study key.
"""

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.small_study import small_terms
from client.study.kept_secrets import KeptSecrets
from client.study.outgoing_update import OutgoingUpdate, send_later
from privacy.errors import TrainingError
from privacy.protocol.messages import Sealed
from privacy.secure_aggregation.round_layout import layout_of
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.schemes.bfv_parameters import PLAIN_MODULUS
from tests.attacks.test_lone_updates import looks_random
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_equal_models, require_one_draw_a_round, require_one_release_a_round
from tests.protocol.mallory import Mallory, in_charge, require_refused
from tests.protocol.moments import THREE, committed
from tests.simulator import FOUR, PowerCut

TERMS = small_terms(
    model={"name": "mlp", "options": {"hidden": [400, 400]}},
    training={"rounds": 2, "local_steps": 1, "sampling_rate": 0.2},
    evaluation={"rounds": []},
)


@pytest.fixture
def mallory(found: Found) -> Mallory:
    mallory = in_charge(found(TERMS))
    assert len(layout_of(mallory.launch.statement, 1, 0).blocks) == 2
    return mallory


def study_key(mallory: Mallory, name: str, epoch: int = 1) -> StudyKey:
    """A colluding site's: every site that has sealed holds it."""
    participation = mallory.simulator.sites[name]._participations[mallory.simulator.study]
    return participation.context.epochs.find_study_key(epoch)


class Cut:
    """Sees what leaves of an update while it is sealed, and stops the sealing with ``error`` after one block."""

    def __init__(self, mallory: Mallory, error: BaseException | None) -> None:
        self.updates: list[OutgoingUpdate] = []
        self.left: list[bytes] = []
        self.error = error
        mallory.simulator.transport.on_sealing = self.begin

    def begin(self, update: OutgoingUpdate) -> None:
        self.updates.append(update)
        fill = update.fill
        update.fill = lambda blocks: fill(self.stop_after_one(blocks))  # type: ignore[method-assign]

    def stop_after_one(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for number, block in enumerate(blocks):
            if number and self.error is not None:
                raise self.error
            self.left.append(block)
            yield block


def open_first(mallory: Mallory, block: bytes, key: StudyKey) -> NDArray[np.uint64]:
    """What the first ciphertext of a block decrypts to."""
    cipher = layout_of(mallory.launch.statement, 1, 0).cipher
    total = cipher.make_sum()
    total.add(block[: cipher.sealed_bytes])
    return key.decrypt(total.to_bytes(), 1)


def pack_first(mallory: Mallory, name: str) -> NDArray[np.uint64]:
    """The slots of a site's first ciphertext, from its own folder."""
    layout = layout_of(mallory.launch.statement, 1, 0)
    integers = mallory.simulator.store(name).read_integers(1)
    assert integers is not None
    return layout.pack(integers[layout.find_values_in(range(1))], (), range(1))


def kill_in_mid_sealing(mallory: Mallory) -> Cut:
    """Ash dies after one block of attempt 1, and is started again."""
    cut = Cut(mallory, PowerCut())
    with pytest.raises(PowerCut):
        mallory.train("ash")
    mallory.simulator.transport.on_sealing = send_later
    mallory.simulator.restart_site("ash")
    return cut


def test_attempt_whose_sealing_died_with_its_process_is_never_sealed_again(mallory: Mallory) -> None:
    """Under the same masks there would be two contents: the coordinator tries the old key epoch, then another one."""
    cut = kill_in_mid_sealing(mallory)
    require_refused(mallory.train("ash"), "epoch-lost", "")
    mallory.key(2)
    require_refused(mallory.train("ash", epoch=2), "epoch-lost", "began to send attempt 1 of round 1")
    require_refused(mallory.train("ash", epoch=2, cohort=THREE), "epoch-lost", "began to send attempt 1 of round 1")
    assert isinstance(mallory.train("ash", attempt=2, epoch=2), Sealed)
    assert mallory.headers["ash", 1, 2].statement.own_mask != cut.updates[0].mask
    require_refused(mallory.train("ash", epoch=2), "stale", "attempt 1 of round 1 is over")


def test_attempt_whose_sealing_failed_is_never_sealed_again_by_the_same_process(mallory: Mallory) -> None:
    """The process lives, and still has the pair secrets."""
    cut = Cut(mallory, TrainingError("a process that sealed died"))
    require_refused(mallory.train("ash"), "failed", "")
    cut.error = None
    for _ in range(2):
        require_refused(mallory.train("ash"), "epoch-lost", "began to send attempt 1 of round 1")
    assert len(cut.updates) == 1
    assert isinstance(mallory.train("ash", attempt=2), Sealed)


def test_mask_of_what_has_left_is_kept_nowhere_and_released_to_nobody(mallory: Mallory) -> None:
    kill_in_mid_sealing(mallory)
    store = mallory.simulator.store("ash")
    identity = mallory.simulator.homes["ash"].load_identity()
    assert KeptSecrets(store.folder, store.launch, identity).load_attempt() is None
    for name in FOUR[1:]:
        assert isinstance(mallory.train(name), Sealed)
    require_refused(mallory.release("ash"), "epoch-lost", "no mask for attempt 1 of round 1")


def test_blocks_that_left_before_their_header_open_nothing(mallory: Mallory) -> None:
    """Who has the study key sees uniform slots; so they stay beside the whole later attempt of the same integers."""
    cut = kill_in_mid_sealing(mallory)
    assert isinstance(mallory.train("birch"), Sealed)
    first = open_first(mallory, cut.left[0], study_key(mallory, "birch"))
    assert looks_random(first)
    assert not np.array_equal(first, pack_first(mallory, "ash"))
    mallory.key(2)
    assert isinstance(mallory.train("ash", attempt=2, epoch=2), Sealed)
    again = open_first(mallory, mallory.blobs["ash", 1, 2], study_key(mallory, "ash", 2))
    assert looks_random(again)
    assert looks_random((first + PLAIN_MODULUS - again) % PLAIN_MODULUS)


def test_attempt_that_is_asked_for_again_is_sealed_once(mallory: Mallory) -> None:
    """The same bytes come from the disk: what has left once does not leave in another form."""
    cut = Cut(mallory, None)
    sealed = [mallory.train("ash") for _ in range(3)]
    assert isinstance(sealed[0], Sealed)
    assert len(cut.updates) == 1
    assert mallory.blobs["ash", 1, 1] == b"".join(cut.left)
    headers = {reply.header.statement.blob for reply in sealed if isinstance(reply, Sealed)}
    assert headers == {hashlib.sha256(b"".join(cut.left)).hexdigest()}


def test_second_attempt_has_masks_of_its_own(mallory: Mallory) -> None:
    """The coordinator asks for attempt 2 as soon as attempt 1 has begun to leave: it is answered after it, anew."""
    cut = Cut(mallory, None)
    for attempt in (1, 2):
        assert isinstance(mallory.train("ash", attempt=attempt), Sealed)
    one, two = cut.updates
    assert one.mask != two.mask
    key = study_key(mallory, "ash")
    first, second = (open_first(mallory, mallory.blobs["ash", 1, attempt], key) for attempt in (1, 2))
    assert looks_random((first + PLAIN_MODULUS - second) % PLAIN_MODULUS)


def test_study_goes_on_after_a_site_died_in_mid_sealing(found: Found) -> None:
    simulator = found(TERMS)
    died: list[OutgoingUpdate] = []

    def die_once(update: OutgoingUpdate) -> None:
        if not died:
            died.append(update)
            raise PowerCut

    simulator.transport.on_sealing = die_once
    simulator.run()
    assert len(died) == 1
    assert [event.committed.attempt for event in committed(simulator).values()] == [2, 1]
    require_one_release_a_round(simulator)
    require_one_draw_a_round(simulator)
    require_equal_models(simulator)
