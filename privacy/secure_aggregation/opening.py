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

from collections.abc import Callable, Sequence
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
from privacy.secure_aggregation.layout import BLOCK, CHECKS, Fault, Layout, Unpacked, require_possible
from privacy.secure_aggregation.process_pool import map_blocks
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.seal import forget_loaded_keys, load_study_key, require_cohort

_Bytes = bytes | memoryview


@dataclass(frozen=True)
class OpenedSum:
    """The sum over the cohort, exactly."""

    values: NDArray[np.int64]  # (parameters,)
    counts: tuple[int, ...]


class Opening:
    """One aggregate on its way to a sum: decrypted by :meth:`decrypt`, verified and given out by :meth:`accept`.

    Before :meth:`accept` nothing that was decrypted is looked at, leaves, or is raised. :meth:`decrypt` may therefore
    begin before it is known that the bytes are those of the aggregate: it takes the same steps whatever it decrypts,
    and ends early only for what everybody can see in the bytes.

    Args:
        layout: from the terms.
        cohort: the sites whose sum it is to be.
        context: the context with which they sealed.
        study_key: the key epoch's key.

    Raises:
        SealingError: the cohort is too small or too large, or names a site twice.
    """

    def __init__(self, layout: Layout, *, cohort: Sequence[str], context: bytes, study_key: StudyKey) -> None:
        require_cohort(layout, cohort)
        self._layout = layout
        self._cohort = tuple(cohort)
        self._context = context
        self._key = study_key
        self._values = np.empty(layout.parameters, dtype=np.int64)
        self._totals: list[int] = []
        self._forms, self._checks = NO_FORMS, NO_FORMS
        self._count, self._faults = 0, Fault(0)

    def is_of(self, layout: Layout, cohort: Sequence[str], context: bytes, study_key: StudyKey) -> bool:
        """Return whether it opens an aggregate of exactly these."""
        mine = (self._layout, self._cohort, self._context, self._key.to_bytes())
        return mine == (layout, tuple(cohort), context, study_key.to_bytes())

    def decrypt(self, read: Callable[[int, int], _Bytes], processes: int | None = None) -> None:
        """Decrypt every block.

        Run by a site.

        Args:
            read: returns the aggregate's bytes from one place to another; it may wait for them, or raise.
            processes: the most processes to use for a large vector; all cores, if not given.

        Raises:
            SealingError: a coefficient is not below its modulus.
            TrainingError: a worker process ended unexpectedly (:mod:`privacy.secure_aggregation.process_pool`).
        """
        layout, sites, key = self._layout, len(self._cohort), self._key.to_bytes()
        size = layout.cipher.compute_sum_bytes(sites)
        tasks = (
            _Task(
                layout,
                parts,
                np.frombuffer(read(parts.start * size, parts.stop * size), dtype=np.uint8),
                sites,
                self._context,
                key,
            )
            for parts in layout.blocks
        )
        blocks = map_blocks(_open_block, tasks, len(layout.blocks), processes)
        for parts, block in zip(layout.blocks, blocks, strict=True):
            if parts.start == 0:
                self._count = block.first
            self._forms, self._checks = add_forms(self._forms, block.forms), block.checks
            self._faults |= block.fields.faults
            self._values[layout.find_values_in(parts)] = block.fields.values
            self._totals += block.fields.totals

    def accept(self) -> OpenedSum:
        """Verify what was decrypted, and return the sum of the cohort's integers and totals.

        Run by a site that holds the whole aggregate, which is the one that it was told of.

        Raises:
            SealingError: naming the first rule that the aggregate breaks.
        """
        _require_count(self._count, len(self._cohort), self._layout.maximum_sites)
        if self._checks != compute_expected_checks(self._forms, self._key.check_key, self._context, self._cohort):
            raise SealingError(
                "the aggregate is refused: its check fields do not hold, so it was altered or is not this cohort's "
                "sum of this round; the key epoch must end"
            )
        require_possible(self._faults, len(self._cohort))
        return OpenedSum(self._values, tuple(self._totals))

    def wipe(self) -> None:
        """Overwrite what was decrypted, and forget the key here and in the processes that decrypted with it."""
        self._values.fill(0)
        self._totals.clear()
        self._forms, self._checks, self._count, self._faults = NO_FORMS, NO_FORMS, 0, Fault(0)
        forget_loaded_keys()


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
    opening = Opening(layout, cohort=cohort, context=context, study_key=study_key)
    expected = layout.compute_aggregate_bytes(len(cohort))
    if len(aggregate) != expected:
        raise SealingError(f"the aggregate is refused: expected {expected} bytes, got {len(aggregate)}")
    view = memoryview(aggregate)
    opening.decrypt(lambda start, stop: view[start:stop], processes)
    return opening.accept()


class _Task(NamedTuple):
    """One block to open."""

    layout: Layout
    parts: range
    aggregate: NDArray[np.uint8]
    sites: int
    context: bytes
    study_key: bytes


class _Block(NamedTuple):
    """One block, opened and not yet accepted. ``checks`` are its last slots."""

    first: int
    forms: Forms
    checks: Forms
    fields: Unpacked


def _open_block(task: _Task) -> _Block:
    layout, key = task.layout, load_study_key(task.study_key)
    slots = layout.cipher.decrypt(key, task.aggregate.data, task.sites)
    is_last = task.parts.stop == layout.parts
    number = task.parts.start // BLOCK
    forms = compute_linear_forms(key.check_key, task.context, number, slots[:-CHECKS] if is_last else slots)
    checks = tuple(slots[-CHECKS:].tolist())
    return _Block(int(slots[0]), forms, checks, layout.unpack(slots, task.sites, task.parts))


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
