"""Train with sums as each encryption opens them; a part of ``benchmarks/privacy_systems_accuracy.py``.

================  ====================================================================================================
integers          16 bits a value, with what rounding left added to the next update: what ``bfv``, ``lwe``, ``paillier``
                  and ``open`` of a study, threshold BFV and Li's two parties add alike
ckks              every update encrypted with TenSEAL's CKKS as usually used, added, and opened
phong             hospitals take turns, a step each, in integers of 32 bits
batchcrypt        8 bits a value, cut where a layer's clipping says, packed, added as plaintexts and unpacked
================  ====================================================================================================

Encryptions that add integers exactly (their tests say so) are left out here: what they open is the sum of integers.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from benchmarks.ckks import PRACTICE, Adder
from benchmarks.privacy_systems_studies import LOCAL_STEPS, ROUNDS, Federation, Vector, score, train_locally
from benchmarks.shared_parameters import train_together
from privacy.randomness import KeyStream
from privacy.secure_aggregation.quantise import Grid, dequantise, quantise
from privacy.secure_aggregation.schemes import batchcrypt, phong

_GRID: Final = Grid(1.0, 16)
_PHONG_RANGE: Final = 4.0
_BATCH_BITS: Final = 8


def measure(made: Federation, seed: int, rounds: int = ROUNDS) -> dict[str, float]:
    """Train in every way; return the accuracy by the name of the way."""
    stream = KeyStream(seed.to_bytes(32, "big"))  # rounding of a benchmark, so that a run can be repeated
    first = made.start
    rests = [np.zeros_like(first) for _ in made.hospitals]
    sizes = [parameter.numel() for parameter in made.network.parameters()]
    ckks = Adder(PRACTICE)

    def add_integers(updates: Sequence[Vector]) -> Vector:
        total = np.zeros(len(first), dtype=np.int64)
        for place, update in enumerate(updates):
            rests[place] += update
            total += quantise(rests[place], _GRID, stream).integers  # what it leaves stays in the update
        return dequantise(total, len(updates), _GRID) / len(updates)

    return {
        "integers": score(made, train_together(made, first, rounds, add_integers)),
        "ckks": score(made, train_together(made, first, rounds, lambda updates: ckks.add(updates) / len(updates))),
        "phong": score(made, train_in_turns(made, first, rounds * LOCAL_STEPS)),
        "batchcrypt": score(
            made, train_together(made, first, rounds, lambda updates: add_batches(updates, sizes, stream))
        ),
    }


def train_in_turns(made: Federation, start: Vector, steps: int) -> Vector:
    """Take ``steps`` steps of every hospital in turn, each added in integers of 32 bits; return the parameters (P,)."""
    weights, rate = phong.quantise(start, _PHONG_RANGE), made.rate / len(made.hospitals)
    for _ in range(steps):
        for each in made.hospitals:
            model = phong.restore(weights, _PHONG_RANGE)
            weights = weights + phong.quantise(train_locally(made, model, each, 1, rate) - model, _PHONG_RANGE)
    return phong.restore(weights, _PHONG_RANGE)


def add_batches(updates: Sequence[Vector], sizes: Sequence[int], stream: KeyStream) -> Vector:
    """Return the mean of ``updates`` (P,) as BatchCrypt opens it, layers having ``sizes`` parameters; (P,)."""
    batching = batchcrypt.Batching(bits=_BATCH_BITS, sites=len(updates))
    parts = []
    for layer in zip(*(np.split(update, np.cumsum(sizes)[:-1]) for update in updates), strict=True):
        lowest, highest = min(each.min() for each in layer), max(each.max() for each in layer)
        if not lowest < highest:  # one value, the same of all: it has no range to share
            parts.append(layer[0])
            continue
        alpha = batchcrypt.compute_clipping(lowest, highest, max(2, len(layer[0])), _BATCH_BITS)
        integers = [batchcrypt.quantise(each, alpha, batching, stream).tolist() for each in layer]
        packed = [batchcrypt.encode(each, batching) for each in integers]
        added = [sum(numbers) for numbers in zip(*packed, strict=True)]
        sums = batchcrypt.decode(added, len(layer[0]), batching)
        parts.append(batchcrypt.restore(sums, alpha, batching) / len(updates))
    return np.concatenate(parts)
