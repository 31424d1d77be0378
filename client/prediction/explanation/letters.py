"""Explain models of one-hot letters of DNA: by gradients, by parts of a sequence, and by sequences that look alike.

===============  ======================================================================================================
method           what it gives
===============  ======================================================================================================
``saliency``     the gradient of the score times the letter, at every place (Simonyan et al. 2013; Lanchantin et al.
                 2017 take its size, and the loss of the true label)
``temporal``     the score of every beginning and every end of the sequence, from a model that computes them
                 (``read_temporal_outputs``), and how much the score of the beginning grows with each letter
``max-entropy``  letters of the sequences that the model's last hidden layer does not tell from this one, by how much
                 more often than by chance; a place where the letter stays is one that the model uses (Finnegan and
                 Song 2017)
``motif``        no record at all: letters that the score of a class grows with, from random ones (Simonyan et al. 2013;
                 Lanchantin et al. 2016)
===============  ======================================================================================================

Rules:

* letters are an input of numbers in [0, 1], (4, length), in the order A, C, G, T;
* draws are from a fixed seed, so that an explanation can be repeated;
* only the released model is read, and at most one record: so nothing is learned of other patients. A map of a patient's
  own letters is theirs, and stays at the site. ``motif`` needs no data, and may be shown.

With phi(x) the last hidden layer and w its weights in the score, max-entropy draws letters x from

    p(x) proportional to exp(-beta d(x) + mu GC(x)),   d(x)^2 = sum over units j of (w_j (phi_j(x) - phi_j(x0)))^2

by the Metropolis algorithm: one letter of a chain becomes another one, and stays so with the usual probability. mu is
the logarithm of the odds of G and C in the genome.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from client.prediction.explanation.attributions import Explanation, Tensors, Values, read_attention, to_numpy
from client.prediction.explanation.score import Score, choose_score
from client.prediction.release_contract import ReleaseContract
from models.catalogue import find_model
from models.outputs import read_outputs
from privacy.errors import ReleaseError

Method = Literal["saliency", "temporal", "max-entropy", "motif"]
METHODS: Final[tuple[Method, ...]] = ("saliency", "temporal", "max-entropy", "motif")
BASES: Final = "ACGT"
_GC: Final = (1, 2)
_CHAINS: Final = 32
_SEED: Final = 0
_MOTIF_STEPS: Final = 1000
_MOTIF_RATE: Final = 0.05
_MOTIF_PENALTY: Final = 0.009  # of the sum of squares, as in the authors' code
_DECAY: Final = 0.99  # of the squares that RMSprop divides by

Distance = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Chance:
    """What max-entropy draws with.

    Attributes:
        beta: how strictly the hidden layer must stay as it is.
        gc: the share of G and C by chance, in (0, 1).
        steps: of every chain, for each letter of the sequence; the first half is left out.
    """

    beta: float = 10.0
    gc: float = 0.5
    steps: int = 50

    @property
    def mu(self) -> float:
        """The logarithm of the odds of G and C."""
        return math.log(self.gc / (1 - self.gc))


def explain_letters(
    contract: ReleaseContract,
    module: nn.Module,
    inputs: Tensors,
    place: int | None,
    method: Method,
    chance: Chance,
) -> Explanation:
    """Explain one record, of which ``inputs`` has (1, ...) for each input of the model.

    Raises:
        ReleaseError: the model has no letters, no score, or not what the method needs.
    """
    names = find_letters(contract, method)
    with torch.no_grad():
        outputs = read_outputs(module(inputs))
    score = choose_score(contract, inputs, outputs, place)
    value = float(score.compute(outputs)[0])
    if method == "saliency":
        found = _compute_saliency(module, inputs, names, score)
        return Explanation(
            score.name, value, None, found, dict.fromkeys(found, method), read_attention(module, inputs)
        )
    name = _require_one(names, method)
    if method == "temporal":
        return _explain_parts(module, inputs, name, score, value)
    return _explain_by_chance(module, inputs, name, score, value, chance)


def find_letters(contract: ReleaseContract, method: Method) -> list[str]:
    """List the model's inputs of one-hot letters.

    Raises:
        ReleaseError: there are none.
    """
    names = []
    for each in find_model(contract.model.name).inputs:
        tensor: Any = contract.data.find_tensor(contract.model.inputs[each.name])
        if each.type == "number" and len(tensor.shape) == 2 and tensor.shape[0] == len(BASES):
            names += [each.name] if tuple(tensor.range) == (0.0, 1.0) else []
    if not names:
        raise ReleaseError(
            f"--method {method} explains one-hot letters of DNA, numbers from 0 to 1 of the shape (4, length); the "
            f"model of '{contract.study}' takes none"
        )
    return names


def _require_one(names: list[str], method: Method) -> str:
    if len(names) > 1:
        raise ReleaseError(f"--method {method} explains one sequence; the model takes {', '.join(names)}")
    return names[0]


def _compute_saliency(module: nn.Module, inputs: Tensors, names: list[str], score: Score) -> dict[str, Values]:
    """Return the gradient of the score times the letters; (4, length) each."""
    letters = {name: inputs[name].clone().requires_grad_() for name in names}
    value = score.compute(read_outputs(module({**inputs, **letters})))
    gradients = torch.autograd.grad(value.sum(), list(letters.values()))
    return {name: to_numpy((gradient * inputs[name])[0]) for name, gradient in zip(names, gradients, strict=True)}


def _explain_parts(module: nn.Module, inputs: Tensors, name: str, score: Score, value: float) -> Explanation:
    """Explain a record by the scores of its parts; what the letters add sums to the score minus that of no letters."""
    read = getattr(module, "read_temporal_outputs", None)
    found = {} if read is None else read(inputs)
    if not found:
        raise ReleaseError(
            "--method temporal needs a model that reads letters one after the other, such as deep-motif of the form "
            "rnn or cnn-rnn"
        )
    scores = {part: to_numpy(score.compute(outputs[0])) for part, outputs in found.items()}  # (length + 1,)
    added = np.diff(scores["prefix"]) * to_numpy(inputs[name][0])
    measures = {"prefix": scores["prefix"][1:], "suffix": scores["suffix"][:-1]}
    start = float(scores["prefix"][0])
    return Explanation(score.name, value, start, {name: added}, {name: "temporal"}, {}, measures)


def _explain_by_chance(
    module: nn.Module, inputs: Tensors, name: str, score: Score, value: float, chance: Chance
) -> Explanation:
    """Explain a record by the letters that its last hidden layer does not tell from its own, in bits."""
    letters = inputs[name][0]
    known = letters.sum(0) > 0
    if not bool(known.any()) or not bool((letters.amax(0) == letters.sum(0)).all()):
        raise ReleaseError(
            "--method max-entropy needs letters that are known; this record has none, or shares of some"
        )
    distance = make_distance(module, inputs, name, score)
    steps = chance.steps * int(known.sum())
    counts, samples = torch.zeros_like(letters, dtype=torch.float64), 0
    for step, drawn in enumerate(draw_letters(distance, letters, chance.beta, chance.mu, steps)):
        if step >= steps // 2 and step % int(known.sum()) == 0:
            counts += drawn.sum(0)
            samples += len(drawn)
    shares = to_numpy(counts / samples)
    background = np.array([chance.gc / 2 if base in _GC else (1 - chance.gc) / 2 for base in range(len(BASES))])
    logarithms = np.log2(np.maximum(shares, 1e-12) / background[:, None])
    bits = np.where(to_numpy(known)[None] > 0, (shares * logarithms).sum(0), 0.0).reshape(-1)  # (length,)
    measures = {"share": shares, "bits": bits, "gc": shares[list(_GC)].sum(0)[to_numpy(known) > 0].mean()[None]}
    return Explanation(score.name, value, None, {name: shares * bits}, {name: "max-entropy"}, {}, measures)


def make_distance(module: nn.Module, inputs: Tensors, name: str, score: Score) -> Distance:
    """Make the function that compares the last hidden layer for letters (n, 4, length) with the record's; (n,).

    Units count by their weights in the score.

    Raises:
        ReleaseError: the model does not end in a linear layer on one vector of a record.
    """
    layer, units, outputs = _find_last_layer(module, inputs)
    outputs = outputs.detach().requires_grad_()
    (slope,) = torch.autograd.grad(score.compute(outputs).sum(), outputs)
    weights = (slope.reshape(-1) @ layer.weight).detach()  # (units,)

    @torch.no_grad()
    def compute(letters: torch.Tensor) -> torch.Tensor:
        many = {key: each.expand(len(letters), *each.shape[1:]) for key, each in inputs.items()}
        _, found, _ = _find_last_layer(module, {**many, name: letters})
        distances: torch.Tensor = torch.linalg.vector_norm(weights * (found - units), dim=1)
        return distances

    return compute


def _find_last_layer(module: nn.Module, inputs: Tensors) -> tuple[nn.Linear, torch.Tensor, torch.Tensor]:
    """Return the linear layer that gives the outputs, its input (n, units), and the outputs."""
    seen = list[tuple[nn.Linear, torch.Tensor, torch.Tensor]]()

    def watch(layer: nn.Module, taken: tuple[torch.Tensor, ...], given: torch.Tensor) -> None:
        seen.append((cast(nn.Linear, layer), taken[0], given))

    hooks = [each.register_forward_hook(watch) for each in module.modules() if isinstance(each, nn.Linear)]
    try:
        with torch.no_grad():
            outputs = read_outputs(module(inputs))
    finally:
        for hook in hooks:
            hook.remove()
    if not seen or seen[-1][1].ndim != 2 or not torch.equal(seen[-1][2].reshape(outputs.shape), outputs):
        raise ReleaseError(
            "--method max-entropy compares the last hidden layer of a record; this model does not end in a linear "
            "layer on one vector"
        )
    layer, units, _ = seen[-1]
    return layer, units, outputs


def draw_letters(
    distance: Distance, start: torch.Tensor, beta: float, mu: float, steps: int, chains: int = _CHAINS
) -> Iterator[torch.Tensor]:
    """Draw letters by the Metropolis algorithm from ``start`` on; (chains, 4, length) after every step.

    A place without a letter stays without one.

    Args:
        distance: of letters (n, 4, length) from those that are explained; (n,).
        start: the letters that are explained, (4, length).
        beta: how much the distance counts.
        mu: how much each G or C counts.
        steps: of each chain, one letter each.
        chains: how many.
    """
    random = torch.Generator().manual_seed(_SEED)
    places = start.sum(0).nonzero()[:, 0].cpu()
    letters, rows = start.expand(chains, -1, -1).clone(), torch.arange(chains)
    energies = beta * distance(letters)
    strong = torch.zeros(len(BASES), device=start.device).index_fill_(0, torch.tensor(_GC, device=start.device), mu)
    for _ in range(steps):
        where = places[torch.randint(len(places), (chains,), generator=random)]
        before = letters[rows, :, where]  # (chains, 4)
        other = torch.randint(1, len(BASES), (chains,), generator=random).to(start.device)
        after = functional.one_hot((before.argmax(1) + other) % len(BASES), len(BASES)).to(letters.dtype)
        proposed = letters.clone()
        proposed[rows, :, where] = after
        changed = beta * distance(proposed)
        gain = energies - changed + (after - before) @ strong
        accepted = torch.rand(chains, generator=random).to(start.device).log() < gain
        letters = torch.where(accepted[:, None, None], proposed, letters)
        energies = torch.where(accepted, changed, energies)
        yield letters


class Motif(NamedTuple):
    """Letters that the score of a class grows with: its name, and the share of each letter, (4, length)."""

    score: str
    shares: Values


def find_motif(contract: ReleaseContract, module: nn.Module, place: int | None) -> Motif:
    """Find the motif of the score that ``place`` names, without any record.

    Raises:
        ReleaseError: the model takes something else than letters, or has no score.
    """
    name = _require_one(find_letters(contract, "motif"), "motif")
    if len(find_model(contract.model.name).inputs) > 1:
        raise ReleaseError(
            "--method motif needs a model of letters alone; this one takes other inputs, of a record"
        )
    tensor: Any = contract.data.find_tensor(contract.model.inputs[name])
    random = torch.Generator().manual_seed(_SEED)
    start = torch.rand((1, *tensor.shape), generator=random)
    with torch.no_grad():
        outputs = read_outputs(module({name: start}))
    score = choose_score(contract, {name: start}, outputs, place)
    shares = optimise_letters(lambda letters: score.compute(read_outputs(module({name: letters}))), start)
    return Motif(score.name, to_numpy(shares))


def optimise_letters(compute: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor) -> torch.Tensor:
    """Change ``start`` (1, 4, length) until a positive label is likely; shares of each letter, (4, length).

    The loss is the cross-entropy of a positive label of this score, and a penalty; RMSprop makes it small.
    """
    letters, squares = start.clone(), torch.zeros_like(start)
    for _ in range(_MOTIF_STEPS):
        letters.requires_grad_()
        loss = functional.softplus(-compute(letters)).sum() + _MOTIF_PENALTY * letters.square().sum()
        (gradient,) = torch.autograd.grad(loss, letters)
        squares = _DECAY * squares + (1 - _DECAY) * gradient.square()
        letters = letters.detach() - _MOTIF_RATE * gradient / (squares.sqrt() + 1e-8)
    found = letters[0].clamp(0, 1)
    found = found / found.max().clamp(min=1e-8) + 0.01
    return found / found.sum(0, keepdim=True)
