"""Measure what an attacker reads from an update of which only the most sensitive part is encrypted (FedML-HE).

Jin et al. 2023 encrypt the share p of the parameters whose gradients depend most on a record's label, and send the
rest in the clear. Nothing follows from that for the rest, so this is an attack's success against p, on real patients
(sklearn's breast cancer data: 30 numbers each), for one patient's gradient of a network of two layers:

* ``algebra``: the first layer's gradient is a product, (record, 1) x (error of each unit). A few clear entries a row
  and column determine both, by alternating least squares, whatever was chosen to be encrypted by value. The scale too,
  if one bias is clear.
* ``matching``: deep leakage from gradients (Zhu et al. 2019), which looks for a record and label whose gradient
  agrees with what is clear.

The paper's maps of all sites are averaged under encryption; here one map over all training patients stands for that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from torch import nn

SHARES: Final = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 1.0)
HIDDEN: Final = 32
CLOSE: Final = 0.1
"""Standard deviations within which a value of the record counts as read."""
ALIKE: Final = 0.95
"""The correlation with the record from which on its shape counts as read, up to a factor."""
_ROUNDS: Final = 200


@dataclass(frozen=True)
class Records:
    """Patients with standardised values, (patients, values), and labels, (patients,)."""

    values: NDArray[np.float32]
    labels: NDArray[np.int64]


def read_records() -> Records:
    """Read the patients, standardised over all of them."""
    found = load_breast_cancer()
    values = (found.data - found.data.mean(axis=0)) / found.data.std(axis=0)
    return Records(values.astype(np.float32), found.target.astype(np.int64))


def make_network(values: int, seed: int = 0) -> nn.Sequential:
    """Make a network of two layers with smooth units."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(values, HIDDEN), nn.Sigmoid(), nn.Linear(HIDDEN, 2))


def compute_gradient(
    network: nn.Module, record: torch.Tensor, target: torch.Tensor, *, differentiable: bool = False
) -> torch.Tensor:
    """Compute one record's gradient, flat; ``target`` is a distribution over the labels."""
    loss = nn.functional.cross_entropy(network(record)[None], target[None])
    parts = torch.autograd.grad(loss, list(network.parameters()), create_graph=differentiable)
    return torch.cat([part.reshape(-1) for part in parts])


def compute_sensitivity(network: nn.Module, records: Records, most: int = 50) -> NDArray[np.float64]:
    """Compute the paper's map: the mean size of the derivative of each gradient by the label; (parameters,).

    Cross-entropy is linear in the distribution over labels, so the derivative by one label's entry is the gradient for
    that label.
    """
    sizes = np.zeros(sum(parameter.numel() for parameter in network.parameters()))
    for values in records.values[:most]:
        columns = [compute_gradient(network, torch.from_numpy(values), target).numpy() for target in torch.eye(2)]
        sizes += np.linalg.norm(columns, axis=0)
    return sizes / most


def choose_clear(sensitivity: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """Return which parameters stay in the clear when the most sensitive ``share`` is encrypted."""
    clear = np.ones(len(sensitivity), dtype=bool)
    clear[np.argsort(-sensitivity, kind="stable")[: round(share * len(sensitivity))]] = False
    return clear


def attack_by_algebra(
    network: nn.Module, gradient: NDArray[np.float32], clear: NDArray[np.bool_], values: int
) -> NDArray[np.float64]:
    """Read a record from the first layer's clear gradients; (values,). Up to a factor where every bias is encrypted."""
    weights, bias = values * HIDDEN, HIDDEN
    table = np.concatenate(
        [gradient[:weights].reshape(HIDDEN, values), gradient[weights : weights + bias, None]], 1
    )
    seen = np.concatenate([clear[:weights].reshape(HIDDEN, values), clear[weights : weights + bias, None]], 1)
    table = np.where(seen, table, 0.0).astype(np.float64)  # (HIDDEN, values + 1)
    left, right = table @ table[np.argmax(np.abs(table).sum(axis=1))], np.zeros(values + 1)
    for _ in range(_ROUNDS):
        right = table.T @ left / np.maximum(seen.T @ left**2, 1e-300)
        left = table @ right / np.maximum(seen @ right**2, 1e-300)
    # the last column is the record's constant 1
    scale = right[-1] if seen[:, -1].any() and right[-1] else np.std(right[:-1]) or 1.0
    return right[:-1] / scale


def attack_by_matching(
    network: nn.Module, gradient: NDArray[np.float32], clear: NDArray[np.bool_], values: int, starts: int = 3
) -> NDArray[np.float64]:
    """Look for a record whose clear gradients are these, from several starts; (values,)."""
    if not clear.any():
        return np.zeros(values)
    wanted, seen = torch.from_numpy(gradient)[clear], torch.from_numpy(clear)
    best, found = np.inf, np.zeros(values)
    for start in range(starts):
        torch.manual_seed(start)
        record, label = torch.randn(values, requires_grad=True), torch.randn(2, requires_grad=True)
        optimiser = torch.optim.LBFGS([record, label], max_iter=150, line_search_fn="strong_wolfe")

        def distance() -> torch.Tensor:
            made = compute_gradient(network, record, label.softmax(0), differentiable=True)  # noqa: B023
            return ((made[seen] - wanted) ** 2).sum() * 1e4

        def closure() -> float:
            optimiser.zero_grad()  # noqa: B023
            lost = distance()
            lost.backward()  # type: ignore[no-untyped-call]
            return float(lost.detach())

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        lost = float(distance().detach())
        if lost < best:
            best, found = lost, record.detach().numpy().astype(np.float64)
    return found


Attack = Callable[[nn.Module, NDArray[np.float32], NDArray[np.bool_], int], NDArray[np.float64]]
ATTACKS: Final[dict[str, Attack]] = {"algebra": attack_by_algebra, "matching": attack_by_matching}


def measure_attack(attack: Attack, shares: tuple[float, ...] = SHARES, patients: int = 20) -> list[dict[str, Any]]:
    """Attack the gradients of the last ``patients`` with each share encrypted.

    ``values`` is the share of their values that is read within a tenth of a standard deviation, ``records`` the share
    of patients whose record is read but for a factor.
    """
    records = read_records()
    count = records.values.shape[1]
    network = make_network(count)
    sensitivity, rows = compute_sensitivity(network, records), []
    for share in shares:
        clear, values, alike = choose_clear(sensitivity, share), list[float](), list[bool]()
        for truth, label in zip(records.values[-patients:], records.labels[-patients:], strict=True):
            target = nn.functional.one_hot(torch.tensor(label), 2).float()
            gradient = compute_gradient(network, torch.from_numpy(truth), target).detach().numpy()
            read = attack(network, gradient, clear, count)
            values.append(float(np.mean(np.abs(read - truth) < CLOSE)))
            length = np.linalg.norm(read) * np.linalg.norm(truth)
            alike.append(bool(length and abs(read @ truth) / length > ALIKE))
        rows.append({"encrypted": share, "values": float(np.mean(values)), "records": float(np.mean(alike))})
    return rows
