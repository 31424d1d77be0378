"""Open an aggregate at a site: decrypt it, and accept it only if it is exactly the named cohort's sum.

Rules, checked in this order; the error names the rule that is broken:

* the size is the layout's, every coefficient is below its modulus;
* the count field is the number of sites in the cohort;
* the three check fields are those of the opened slots and of exactly these sites;
* every field holds what that many sites can have sealed, every unused slot is zero.

A refusal must end the key epoch, because each refusal gives a tampering coordinator one bit about the key. (A
change smaller than the noise opens to the same sum. To be accepted k times gives it b bits with probability at most
2^-b in all.) It must not give more than that bit. Which rule is broken, and every number in the message, depends on
what decryption gave. So the message stays at the site, and the sender of the aggregate gets the same answer
whichever rule is broken (``client/study/apply_aggregate.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.secure_aggregation.check_fields import (
    NO_FORMS,
    Forms,
    add_forms,
    compute_expected_checks,
    compute_linear_forms,
)
from privacy.secure_aggregation.layout import BLOCK, CHECKS, Layout
from privacy.secure_aggregation.process_pool import map_blocks
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.seal import load_study_key, require_cohort


@dataclass(frozen=True)
class OpenedSum:
    """The sum over the cohort, exactly."""

    values: NDArray[np.int64]  # (parameters,)
    counts: tuple[int, ...]


def open_aggregate(
    layout: Layout,
    aggregate: bytes | memoryview,
    *,
    cohort: Sequence[str],
    context: bytes,
    study_key: StudyKey,
    processes: int | None = None,
) -> OpenedSum:
    """Decrypt and verify an aggregate; return the sum of the cohort's integers and totals.

    Run by a site.

    Raises:
        SealingError: naming the first rule that the aggregate breaks.
        TrainingError: a worker process ended unexpectedly (:mod:`privacy.secure_aggregation.process_pool`).
    """
    require_cohort(layout, cohort)
    expected = layout.compute_aggregate_bytes(len(cohort))
    if len(aggregate) != expected:
        raise SealingError(f"the aggregate is refused: expected {expected} bytes, got {len(aggregate)}")
    values = np.empty(layout.parameters, dtype=np.int64)
    totals: tuple[int, ...] = ()
    forms, checks, broken = NO_FORMS, NO_FORMS, ""
    key, size, view = study_key.to_bytes(), expected // layout.parts, np.frombuffer(aggregate, dtype=np.uint8)
    tasks = (
        _Task(layout, parts, view[parts.start * size : parts.stop * size], len(cohort), context, key)
        for parts in layout.blocks
    )
    for parts, block in zip(
        layout.blocks, map_blocks(_open_block, tasks, len(layout.blocks), processes), strict=True
    ):
        if parts.start == 0:
            _require_count(block.first, len(cohort), layout.maximum_sites)
        forms, checks, broken = add_forms(forms, block.forms), block.checks, broken or block.broken
        # a field out of range is reported last, after the check fields, which need every block
        if not broken:
            values[layout.find_values_in(parts)] = block.values
            totals += block.totals
    if checks != compute_expected_checks(forms, study_key.check_key, context, cohort):
        raise SealingError(
            "the aggregate is refused: its check fields do not hold, so it was altered or is not this cohort's sum "
            "of this round; the key epoch must end"
        )
    if broken:
        raise SealingError(broken)
    return OpenedSum(values, totals)


class _Task(NamedTuple):
    """One block to open."""

    layout: Layout
    parts: range
    aggregate: NDArray[np.uint8]
    sites: int
    context: bytes
    study_key: bytes


class _Block(NamedTuple):
    """One block, opened and not yet accepted.

    ``checks`` are its last slots. ``broken`` says which field is out of range, and is empty if none is.
    """

    first: int
    forms: Forms
    checks: Forms
    values: NDArray[np.uint32] | NDArray[np.uint64]
    totals: tuple[int, ...]
    broken: str


def _open_block(task: _Task) -> _Block:
    layout, key = task.layout, load_study_key(task.study_key)
    slots = layout.cipher.decrypt(key, task.aggregate.data, task.sites)
    is_last = task.parts.stop == layout.parts
    number = task.parts.start // BLOCK
    forms = compute_linear_forms(key.check_key, task.context, number, slots[:-CHECKS] if is_last else slots)
    checks = tuple(slots[-CHECKS:].tolist())
    try:
        values, totals = layout.unpack(slots, task.sites, task.parts)
    except SealingError as error:
        return _Block(int(slots[0]), forms, checks, np.empty(0, np.uint32), (), str(error))
    return _Block(int(slots[0]), forms, checks, values, totals, "")


def _require_count(count: int, sites: int, maximum_sites: int) -> None:
    """Refuse a sum of another number of sealed vectors.

    Raises:
        SealingError: the message says whether it is another number of sites, or a sum that does not open at all.
    """
    if count == sites:
        return
    if count <= maximum_sites:
        raise SealingError(
            f"the aggregate is refused: its count field says {count}, expected the cohort's {sites}: "
            "a site was left out or added twice; the key epoch must end"
        )
    raise SealingError(
        f"the aggregate is refused: its count field is no count, expected {sites}: masks do not cancel (a site or "
        "a release is missing, or sites saw different rounds), the key is another, or it was altered"
    )
