"""Seal an update at a site: pack, check, mask, encrypt, one block at a time.

Beside the update it needs the memory of a few blocks. A block does not change once it is sealed: it may leave before
the next one is (``client/study/seal_round.py`` says under which conditions).

Rules:

* a cohort has at least three different sites, names this one, and fits the layout;
* the own seed is fresh for every sealing and leaves the site only by release;
* the ``context`` names everything that the cohort must agree on: study, launch, key epoch, round, attempt, cohort,
  model, scale. The masks of sites with different contexts do not cancel.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.process_memory import give_back_freed_memory
from privacy.secure_aggregation.check_fields import (
    NO_FORMS,
    Forms,
    add_forms,
    compute_expected_checks,
    compute_linear_forms,
)
from privacy.secure_aggregation.layout import BLOCK, CHECKS, Layout
from privacy.secure_aggregation.masks import make_site_masks
from privacy.secure_aggregation.process_pool import end_idle_workers, map_blocks
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.schemes.bfv_parameters import PLAIN_MODULUS, SLOTS
from privacy.secure_aggregation.schemes.residues import reduce_sums

MINIMUM_COHORT: Final = 3


def seal(
    layout: Layout,
    integers: NDArray[np.uint32],
    counts: Sequence[int],
    *,
    site: str,
    cohort: Sequence[str],
    context: bytes,
    study_key: StudyKey,
    pair_secrets: Mapping[str, bytes],
    own_seed: bytes,
    processes: int | None = None,
) -> Iterator[bytes]:
    """Check that one site's update can be sealed; return its blocks, each sealed when it is asked for.

    Together they have ``layout.sealed_bytes`` bytes. Run by a site.

    Args:
        layout: from the terms.
        integers: the quantised update, (layout.parameters,).
        counts: the totals of an evaluation, layout.counts of them.
        site: this site's name.
        cohort: the names of the round's sites, in any order.
        context: the view of the round that all of them must share.
        study_key: the key epoch's key.
        pair_secrets: 32 bytes shared with each other site, by its name; those of sites outside the cohort are not
            used.
        own_seed: 32 fresh random bytes.
        processes: the most processes to use for a large vector; all cores, if not given.

    Raises:
        SealingError: the cohort is too small or too large, names a site twice or not this one, or a secret is
            missing.
        ValueError: integers or counts do not fit the layout.

    The blocks raise TrainingError if a worker process ended unexpectedly
    (:mod:`privacy.secure_aggregation.process_pool`).
    """
    require_cohort(layout, cohort)
    if site not in cohort:
        raise SealingError(f"{site} seals only in a cohort that names it, got {', '.join(sorted(cohort))}")
    layout.require_fitting(integers, counts)
    inputs = SealingInputs(layout, site, tuple(cohort), context, study_key.to_bytes(), dict(pair_secrets), own_seed)
    make_site_masks(site, cohort, pair_secrets, own_seed, context, 0)  # refuse a missing secret before any work
    return _seal_blocks(inputs, integers, tuple(counts), processes)


def _seal_blocks(
    inputs: "SealingInputs", integers: NDArray[np.uint32], counts: tuple[int, ...], processes: int | None
) -> Iterator[bytes]:
    layout, forms = inputs.layout, NO_FORMS
    *whole, last = layout.blocks
    tasks = (_Task(inputs, parts, integers[layout.find_values_in(parts)], counts) for parts in whole)
    for block in map_blocks(_seal_block, tasks, len(whole), processes):
        forms = add_forms(forms, block.forms)
        yield block.sealed.tobytes()  # its memory is the next block's
    # the last block carries the check fields, which need the sums of every block before it
    yield _seal_block(_Task(inputs, last, integers[layout.find_values_in(last)], counts, forms)).sealed.tobytes()


class SealingInputs(NamedTuple):
    """The inputs that all blocks of one sealing share."""

    layout: Layout
    site: str
    cohort: tuple[str, ...]
    context: bytes
    study_key: bytes
    pair_secrets: dict[str, bytes]
    own_seed: bytes


class _Task(NamedTuple):
    """One block to seal. Only the last has ``forms``: the sums of all blocks before it, for its check fields."""

    inputs: SealingInputs
    parts: range
    values: NDArray[np.uint32]
    counts: tuple[int, ...]
    forms: Forms | None = None


class _Block(NamedTuple):
    sealed: NDArray[np.uint8]
    forms: Forms


def _seal_block(task: _Task) -> _Block:
    inputs, number = task.inputs, task.parts.start // BLOCK
    cipher, key = inputs.layout.cipher, load_study_key(inputs.study_key)
    slots = inputs.layout.pack(task.values, task.counts, task.parts)
    checked = slots if task.forms is None else slots[:-CHECKS]
    forms = compute_linear_forms(key.check_key, inputs.context, number, checked)
    if task.forms is not None:
        slots[-CHECKS:] = compute_expected_checks(
            add_forms(task.forms, forms), key.check_key, inputs.context, [inputs.site]
        )
    masks = make_site_masks(
        inputs.site, inputs.cohort, inputs.pair_secrets, inputs.own_seed, inputs.context, number
    )
    if cipher.masked:
        for start in range(0, len(slots), SLOTS):
            slots[start : start + SLOTS] += masks.draw()
        reduce_sums(slots, PLAIN_MODULUS, 2)
    return _Block(np.frombuffer(cipher.encrypt(key, slots), dtype=np.uint8), forms)


@lru_cache(maxsize=1)
def load_study_key(data: bytes) -> StudyKey:
    """Load the key that :meth:`StudyKey.to_bytes` wrote; a worker does so once, not once a block."""
    return StudyKey.from_bytes(data)


def forget_loaded_keys() -> None:
    """Forget the study key that was used last, in this process and in those that seal and open blocks.

    What this process has freed, updates among it, goes back to the kernel.

    Run by a site whose study, or key epoch, is over.
    """
    load_study_key.cache_clear()
    end_idle_workers()
    give_back_freed_memory()


def require_cohort(layout: Layout, cohort: Sequence[str]) -> None:
    """Refuse a cohort whose sum could be a lone update, or could overflow.

    Raises:
        SealingError: too few sites, too many, or one named twice.
    """
    if len(set(cohort)) != len(cohort):
        raise SealingError("a cohort names every site once; a site is named twice")
    if not MINIMUM_COHORT <= len(cohort) <= layout.maximum_sites:
        raise SealingError(
            f"expected a cohort of {MINIMUM_COHORT} to {layout.maximum_sites} sites, got {len(cohort)}"
        )
