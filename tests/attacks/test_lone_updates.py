"""What a lone update is worth to whoever sees everything but the masks, and the journal to whoever has no key."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.small_study import small_terms
from client.study.key_epochs import PAIR_LABEL, EpochLostError
from privacy.errors import SealingError
from privacy.keys import SessionKey
from privacy.protocol.messages import Released
from privacy.secure_aggregation.layout import Layout
from privacy.secure_aggregation.masks import make_own_masks
from privacy.secure_aggregation.opening import open_aggregate
from privacy.secure_aggregation.round_layout import layout_of
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.schemes.bfv_parameters import PLAIN_MODULUS, SLOTS
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.mallory import Mallory
from tests.protocol.moments import in_phase
from tests.simulator import FOUR

BINS = 64


@pytest.fixture
def mallory(found: Found) -> Mallory:
    """Has watched one whole round of a study without evaluation, and been told the study key by a site."""
    mallory = Mallory(found(small_terms(evaluation={"rounds": []})))
    mallory.key()
    mallory.seal()
    return mallory


def study_key(mallory: Mallory) -> StudyKey:
    """A colluding site's: every site holds it."""
    participation = mallory.simulator.sites["elm"]._participations[mallory.simulator.study]
    return participation._context.epochs.find_study_key(1)


def slots_of(
    mallory: Mallory, blobs: list[bytes], seeds: dict[str, bytes], key: StudyKey | None = None
) -> NDArray[np.uint64]:
    """What the sum of ``blobs``, less the own masks of ``seeds``, decrypts to."""
    padded = {**seeds, **{f"zero-{i}": bytes(32) for i in range(len(blobs) - len(seeds))}}
    aggregate = mallory.aggregate(blobs, padded)
    slots = (key or study_key(mallory)).decrypt(aggregate, len(blobs))
    context = mallory.headers["ash", 1, 1].statement.view.to_bytes()
    for name in padded.keys() - seeds.keys():
        slots = (slots + make_own_masks({name: bytes(32)}, context, 0).draw()) % PLAIN_MODULUS
    return slots


def plain_slots(mallory: Mallory, name: str) -> NDArray[np.uint64]:
    """What a site has packed: its integers, from its own folder."""
    integers = mallory.simulator.store(name).read_integers(1)
    assert integers is not None
    return packed(layout_of(mallory.launch.statement, 1, 0), integers)


def packed(layout: Layout, integers: NDArray[np.uint32]) -> NDArray[np.uint64]:
    return layout.pack(integers, (), range(layout.parts))


def looks_random(slots: NDArray[np.uint64]) -> bool:
    """Chi-squared over equal bins of [0, t): within six standard deviations of what uniform slots give."""
    counts = np.bincount((slots.astype(np.float64) / PLAIN_MODULUS * BINS).astype(int), minlength=BINS)
    chi = float(((counts - SLOTS / BINS) ** 2).sum() / (SLOTS / BINS))
    return bool(abs(chi - (BINS - 1)) < 6 * (2 * (BINS - 1)) ** 0.5)


def test_sum_of_the_cohort_opens_to_the_sum_of_its_slots(mallory: Mallory) -> None:
    """The attacker's arithmetic below is right: with everything released it gives the plain sum."""
    seeds = mallory.seeds()
    opened = slots_of(mallory, [mallory.blobs[name, 1, 1] for name in FOUR], seeds)
    packed = np.sum([plain_slots(mallory, name).astype(np.int64) for name in FOUR], axis=0)
    assert not looks_random(opened)
    assert np.array_equal(opened[:-3].astype(np.int64), packed[:-3])


@pytest.mark.parametrize("released", [True, False], ids=["own mask released", "own mask kept"])
def test_lone_update_does_not_open_with_the_study_key(mallory: Mallory, released: bool) -> None:
    """One site's ciphertext goes to a colluder, who has the study key, before or after all masks are released.

    The pair masks are one-time pads.
    """
    seeds = mallory.seeds() if released else {}
    slots = slots_of(mallory, [mallory.blobs["ash", 1, 1]], {n: s for n, s in seeds.items() if n == "ash"})
    assert looks_random(slots)
    assert not np.array_equal(slots, plain_slots(mallory, "ash"))


@pytest.mark.parametrize("left_out", FOUR)
def test_sum_of_three_of_four_does_not_open_with_the_study_key(mallory: Mallory, left_out: str) -> None:
    """The whole sum less the sum of three would be the fourth: a sum over less than the cohort is masked."""
    seeds = mallory.seeds()
    rest = [name for name in FOUR if name != left_out]
    slots = slots_of(mallory, [mallory.blobs[name, 1, 1] for name in rest], {name: seeds[name] for name in rest})
    assert looks_random(slots)


def test_sum_before_release_does_not_open_with_the_study_key(mallory: Mallory) -> None:
    """A colluder opens the sum before the sites have compared headers: their own masks are still on it."""
    assert looks_random(slots_of(mallory, [mallory.blobs[name, 1, 1] for name in FOUR], {}))


def test_difference_of_two_attempts_does_not_open_with_the_study_key(mallory: Mallory) -> None:
    """The same integers under fresh masks: what they have in common does not show."""
    mallory.seal(attempt=2)
    first, second = (
        slots_of(mallory, [mallory.blobs["ash", 1, attempt]], {}).astype(np.int64) for attempt in (1, 2)
    )
    assert looks_random(((second - first) % PLAIN_MODULUS).astype(np.uint64))


def test_aggregate_does_not_open_without_the_study_key(mallory: Mallory) -> None:
    """What the coordinator has: every blob, every seed, the sum; no key."""
    seeds = mallory.seeds()
    aggregate = mallory.aggregate([mallory.blobs[name, 1, 1] for name in FOUR], seeds)
    context = mallory.headers["ash", 1, 1].statement.view.to_bytes()
    guess = StudyKey.generate()
    layout = layout_of(mallory.launch.statement, 1, 0)
    with pytest.raises(SealingError, match="its count field is no count"):
        open_aggregate(layout, aggregate, cohort=FOUR, context=context, study_key=guess)
    assert looks_random(guess.decrypt(aggregate, len(FOUR)))


def test_secrets_of_sites_are_neither_on_the_wire_nor_in_the_coordinators_folder(found: Found) -> None:
    """An eavesdropper, or a thief of the coordinator's disk, searches for keys and models: nothing of them is there."""
    simulator = found(small_terms())
    in_phase(simulator, Phase.RELEASING, 2)
    secrets: list[bytes] = []
    for name in FOUR:
        epochs = simulator.sites[name]._participations[simulator.study]._context.epochs
        secrets += [
            epochs.find_study_key(1).to_bytes(),
            epochs.find_study_key(1).check_key,
            *epochs.find_pair_secrets(1).values(),
        ]
    simulator.run()
    for name in FOUR:
        secrets += [simulator.model_file(name), (simulator.homes[name].folder / "identity.key").read_bytes()]
    said = [part for each in simulator.transport.wire for part in (each.body, *each.blobs)]
    kept = [path.read_bytes() for path in simulator.federation.folder.rglob("*") if path.is_file()]
    assert len(said) > 50
    assert len(kept) > 5
    for secret in secrets:
        for form in (secret, secret.hex().encode()):
            assert not any(form in each for each in (*said, *kept))


def test_secrets_of_an_epoch_are_not_in_the_sites_own_folder(found: Found) -> None:
    """Whoever copies a site's disk finds no key and no mask in clear; once the study is closed, none at all."""
    simulator = found(small_terms())
    folder = simulator.homes["ash"].folder
    in_phase(simulator, Phase.RELEASING, 2)
    epochs = simulator.sites["ash"]._participations[simulator.study]._context.epochs
    secrets = [epochs.find_study_key(1).to_bytes(), *epochs.find_pair_secrets(1).values()]
    kept = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    simulator.run()
    seeds = [reply.seed for _, reply in simulator.transport.said if isinstance(reply, Released)]
    secrets += [form for seed in seeds for form in (seed.encode(), bytes.fromhex(seed))]
    kept += [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert not any(secret in each for secret in secrets for each in kept)
    assert not list(folder.rglob("*.sealed"))
    with pytest.raises(EpochLostError):
        epochs.find_study_key(1)


def test_pair_secret_needs_a_session_key_of_one_of_the_two(mallory: Mallory) -> None:
    """From both public halves and everything else said in the epoch, an own session key gives another secret."""
    offers = mallory.keys[1].offers
    ash = mallory.simulator.sites["ash"]._participations[mallory.simulator.study]._context.epochs
    context = ash._make_context(1, "")
    guesses = {
        SessionKey().agree(offers[name].statement.session_key, PAIR_LABEL + context) for name in ("ash", "birch")
    }
    assert ash.find_pair_secrets(1)["birch"] not in guesses


def test_every_sealing_has_a_fresh_mask(mallory: Mallory) -> None:
    """A mask used twice would be taken off by a difference: seeds are drawn for each sealing."""
    mallory.seal(attempt=2)
    assert len(set(mallory.seeds(attempt=2).values())) == len(FOUR)
    assert len(set(mallory.blobs.values())) == 2 * len(FOUR)
