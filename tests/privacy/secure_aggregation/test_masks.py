"""Masks cancel over one cohort with one view, and are the golden ones."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privacy.errors import SealingError
from privacy.secure_aggregation.masks import MaskSum, commit_to_seed, make_own_masks, make_site_masks
from privacy.secure_aggregation.schemes.bfv_parameters import PLAIN_MODULUS, SLOTS

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "derivation.json").read_text())
SITES = ["east", "north", "south", "west"]
SEEDS = {site: hashlib.sha256(site.encode()).digest() for site in SITES}


def masks_of(site: str, cohort: list[str], context: bytes = b"a round", block: int = 0) -> MaskSum:
    secrets = {
        peer: hashlib.sha256("".join(sorted((site, peer))).encode()).digest() for peer in SITES if peer != site
    }
    return make_site_masks(site, cohort, secrets, SEEDS[site], context, block)


def test_masks_of_a_cohort_sum_to_its_own_masks() -> None:
    masks, own = [masks_of(site, SITES) for site in SITES], make_own_masks(SEEDS, b"a round", 0)
    for _ in range(3):
        total = sum((mask.draw() for mask in masks), np.zeros(SLOTS, dtype=np.uint64)) % PLAIN_MODULUS
        assert np.array_equal(total, own.draw())


@pytest.mark.parametrize(
    "odd_one_out",
    [
        masks_of("west", SITES[1:]),
        masks_of("west", SITES, b"another round"),
        masks_of("west", SITES, block=1),
        masks_of("south", SITES),
    ],
    ids=["another cohort", "another context", "another block", "another site's"],
)
def test_masks_of_different_views_do_not_cancel(odd_one_out: MaskSum) -> None:
    masks = [*(masks_of(site, SITES) for site in SITES[:3]), odd_one_out]
    total = sum((mask.draw() for mask in masks), np.zeros(SLOTS, dtype=np.uint64)) % PLAIN_MODULUS
    assert np.count_nonzero(total == make_own_masks(SEEDS, b"a round", 0).draw()) == 0


def test_masks_are_uniform_below_the_modulus() -> None:
    mask = masks_of("east", SITES)
    drawn = np.concatenate([mask.draw() for _ in range(16)])
    assert drawn.max() < PLAIN_MODULUS
    histogram = np.histogram(drawn, bins=16, range=(0, PLAIN_MODULUS))[0]
    assert np.sum((histogram - SLOTS) ** 2 / SLOTS) < 45  # chi-square, 15 degrees of freedom: p < 1e-4


def test_masks_without_a_peers_secret_are_refused() -> None:
    with pytest.raises(SealingError, match="pair secret with north is refused: expected 32 bytes, got 0"):
        make_site_masks("east", SITES, {}, SEEDS["east"], b"", 0)


def test_masks_match_the_golden_vector() -> None:
    for case in GOLDEN["masks"]:
        context = bytes.fromhex(case["context"])
        secrets = {peer: bytes.fromhex(secret) for peer, secret in case["pair_secrets"].items()}
        seed = bytes.fromhex(case["own_seed"])
        mask = make_site_masks(case["site"], [case["site"], *secrets], secrets, seed, context, case["block"])
        drawn = [mask.draw(), mask.draw()]
        assert commit_to_seed(seed) == case["commitment"]
        assert [part[:3].tolist() for part in drawn] == case["first_slots"]
        assert hashlib.sha256(np.concatenate(drawn).astype("<u8").tobytes()).hexdigest() == case["sha256"]


def test_masks_the_golden_vector_calls_different_are_different() -> None:
    assert len({case["sha256"] for case in GOLDEN["masks"]}) == len(GOLDEN["masks"])


def test_masks_of_one_block_say_nothing_of_the_next() -> None:
    first, second = masks_of("east", SITES).draw(), masks_of("east", SITES, block=1).draw()
    assert np.count_nonzero(first == second) == 0


def test_commitments_to_different_seeds_differ_and_are_not_the_seed() -> None:
    assert len({commit_to_seed(seed) for seed in SEEDS.values()}) == len(SEEDS)
    assert all(commit_to_seed(seed) != seed.hex() for seed in SEEDS.values())
    with pytest.raises(SealingError, match="mask seed is refused: expected 32 bytes, got 31"):
        commit_to_seed(bytes(31))
