"""Seed what a module draws itself (dropout, corruption, Gibbs steps) from the round's secret stream.

Such draws change which gradient is clipped, never by how much. But the draws for a patient follow those for the
patients before, so whoever knew the seed would know how one patient's presence shifts the draws of all others. So:

* the seed is secret, has 63 bits, and is drawn from the stream that also draws sampling and noise;
* torch fills its CPU generator from 32 bits of a seed only; here its whole state depends on all bits, by numpy's
  ``SeedSequence`` and Mersenne Twister, which is the generator that torch has;
* torch's own generators are as before when the block ends. Nothing is drawn for a module that is not random.
"""

import contextlib
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from torch import nn

from privacy.randomness import KeyStream

_WORDS: Final = slice(
    3, 3 + 624
)  # of torch's CPU state in 64-bit words: seed, two counters, then the twister's words


def list_random_layers(module: nn.Module) -> list[nn.Module]:
    """List the layers that may draw: those that drop something, and those that have ``draws_randomly``."""
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.modules.dropout._DropoutNd) or hasattr(layer, "draws_randomly")
    ]


def is_random(layer: nn.Module) -> bool:
    """Return whether the layer itself, without those inside, drops something or says that it draws, at present."""
    if isinstance(layer, nn.modules.dropout._DropoutNd):
        return layer.training and layer.p > 0
    return getattr(layer, "draws_randomly", False) is True


def draw_seed(stream: KeyStream) -> int:
    """Draw a seed of 63 bits."""
    return int(stream.draw_below(1 << 63, 1)[0])


def make_generator(seed: int, device: torch.device) -> torch.Generator:
    """Make a generator of ``device`` that depends on all bits of ``seed``."""
    generator = torch.Generator(device)
    _seed_generator(generator, seed)
    return generator


@contextlib.contextmanager
def seed_torch(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators, those of the CPU and of ``device``, inside the block."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(
            torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]
        )
    before = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            _seed_generator(generator, seed)
        yield
    finally:
        for generator, state in zip(generators, before, strict=True):
            generator.set_state(state)


def _seed_generator(generator: torch.Generator, seed: int) -> None:
    generator.manual_seed(seed)
    if generator.device.type == "cpu":
        state = generator.get_state()
        words = np.random.MT19937(np.random.SeedSequence(seed)).state["state"]["key"]  # (624,)
        state.numpy().view(np.uint64)[_WORDS] = words
        generator.set_state(state)
