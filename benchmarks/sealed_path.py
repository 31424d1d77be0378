"""Time an update step by step, sealed and unsealed, from the values of a site to the opened sum.

* The opened sum must equal the plain sum of the integers.
* Every site seals the same integers, one after the other. Each sealed vector is added and then freed, so that
  sixteen sites need no more memory than three.
* The figure of a site's own step is the median over the sites.
"""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path as Folder
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.path import CPU, WALL, Laps, Now, Path
from client.study.outgoing_update import OutgoingUpdate
from privacy.randomness import from_os
from privacy.secure_aggregation.aggregate import Aggregate
from privacy.secure_aggregation.layout import Layout
from privacy.secure_aggregation.masks import make_site_masks
from privacy.secure_aggregation.opening import open_aggregate
from privacy.secure_aggregation.quantise import Grid, dequantise, quantise
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.schemes.bfv_parameters import SLOTS
from privacy.secure_aggregation.seal import seal
from privacy.study import SchemeName

BITS: Final = 16
SPREAD: Final = 0.01
_GRID: Final = Grid(5 * SPREAD, BITS)
_CONTEXT: Final = b"benchmark"


def invented_update(parameters: int) -> NDArray[np.float64]:
    """Draw normal deviates; (parameters,)."""
    return np.random.default_rng(0).normal(0.0, SPREAD, parameters)


def layout_for(
    parameters: int,
    sites: int,
    *,
    bits: int = BITS,
    scheme: SchemeName = SchemeName.BFV,
) -> Layout:
    """Make the layout for values of ``bits`` bits, a roster of ``sites`` sites and no totals."""
    return Layout(parameters, 0, bits, sites, scheme=scheme)


def sealed_path(
    update: NDArray[np.float64],
    sites: int,
    processes: int = 1,
    now: Now = CPU,
    scheme: SchemeName = SchemeName.BFV,
) -> Path:
    """Time one round of ``sites`` sites that all send ``update``, from quantising to opening the sum.

    Raises:
        RuntimeError: the opened sum is not exactly the sum of the integers.
    """
    layout, key = layout_for(len(update), sites, scheme=scheme), StudyKey.generate()
    names = [f"site{number:02d}" for number in range(sites)]
    secrets = _pair_secrets(names)
    seeds = {name: os.urandom(32) for name in names}
    left = update.copy()
    if scheme is not SchemeName.BFV:  # derive the scheme's own key once, as a site does in a key epoch
        layout.cipher.encrypt(key, np.zeros(SLOTS, dtype=np.uint64))
    laps = Laps(now)
    integers = quantise(left, _GRID, from_os()).integers
    quantising = laps.lap()
    for block in range(len(layout.blocks)):
        masks = make_site_masks(names[0], names, secrets[names[0]], seeds[names[0]], _CONTEXT, block)
        for _ in layout.blocks[block]:
            masks.draw()
    masking = laps.lap()
    aggregate = Aggregate(layout)
    sealing, adding, size = [], [], 0
    for name in names:
        laps.lap()
        sealed = b"".join(_seal(layout, integers, name, names, secrets[name], seeds[name], key, processes))
        sealing.append(laps.lap())
        aggregate.add(sealed)
        adding.append(laps.lap())
        size = len(sealed)
    aggregate.subtract_masks(seeds, _CONTEXT)
    sent = aggregate.to_bytes()
    finishing = laps.lap()
    opened = open_aggregate(layout, sent, cohort=names, context=_CONTEXT, study_key=key, processes=processes)
    total = dequantise(opened.values, sites, _GRID)
    opening = laps.lap()
    if len(total) != len(update) or np.any(opened.values != sites * integers.astype(np.int64)):
        raise RuntimeError("the sum that was opened is wrong")
    return Path(size, len(sent), quantising, masking, median(sealing), median(adding), finishing, opening)


def seal_alone(integers: NDArray[np.uint32], processes: int) -> float:
    """Time one of three sites that seals ``integers`` to a file, as sites do, in wall-clock seconds."""
    names = ["ash", "birch", "cedar"]
    laps = Laps(WALL)
    layout = layout_for(len(integers), len(names))
    blocks = _seal(
        layout, integers, "ash", names, _pair_secrets(names)["ash"], os.urandom(32), StudyKey.generate(), processes
    )
    with TemporaryDirectory() as folder:
        OutgoingUpdate(Folder(folder), "large-00000000", "0" * 64, layout.sealed_bytes).fill(blocks)
    return laps.lap()


def float32_path(update: NDArray[np.float64], sites: int) -> Path:
    """Time the same round without sealing: float32 values, added as they are."""
    laps = Laps(CPU)
    sent = update.astype(np.float32).tobytes()
    sealing = laps.lap()
    total = np.zeros(len(update), dtype=np.float32)
    adding = []
    for _ in range(sites):
        total += np.frombuffer(sent, dtype=np.float32)
        adding.append(laps.lap())
    aggregate = total.tobytes()
    finishing = laps.lap()
    np.frombuffer(aggregate, dtype=np.float32).astype(np.float64)
    return Path(len(sent), len(aggregate), 0.0, 0.0, sealing, median(adding), finishing, laps.lap())


def _seal(
    layout: Layout,
    integers: NDArray[np.uint32],
    name: str,
    names: list[str],
    secrets: dict[str, bytes],
    seed: bytes,
    key: StudyKey,
    processes: int,
) -> Iterator[bytes]:
    return seal(
        layout,
        integers,
        (),
        site=name,
        cohort=names,
        context=_CONTEXT,
        study_key=key,
        pair_secrets=secrets,
        own_seed=seed,
        processes=processes,
    )


def _pair_secrets(names: list[str]) -> dict[str, dict[str, bytes]]:
    secrets: dict[str, dict[str, bytes]] = {name: {} for name in names}
    for one, other in itertools.combinations(names, 2):
        secrets[one][other] = secrets[other][one] = os.urandom(32)
    return secrets
