"""The end of a study at a site: the final model, and a card that says what it is and what it cost.

``studies/NAME/release/`` holds ``model.safetensors`` (named tensors, float32), ``card.json`` and ``card.md`` with
the same facts. Figures in the card come from the terms, from opened totals and from the book, not from records.
``studies/NAME/own-figures.json``, beside it, is how the model does on this site's own test patients: computed from
records without noise, for this site's eyes, named nowhere else.
"""

from dataclasses import asdict
from typing import Any, Final

import numpy as np
from safetensors.numpy import save

from client.seat import Seat
from models.metrics import metrics
from models.vector import Vector
from privacy.canonical import sha256, to_canonical
from privacy.durable import replace
from privacy.errors import SiteConfigError
from privacy.study import Scheme

MODEL_FILE: Final = "model.safetensors"
CARD_FILE: Final = "card.json"
OWN_FIGURES_FILE: Final = "own-figures.json"


def write_release(seat: Seat) -> str:
    """Run by a site. Write the final model, its card, and the own figures; SHA-256 of the model file.

    Every site writes the same bytes of the model file.
    """
    folder = seat.store.folder / "release"
    folder.mkdir(exist_ok=True)
    vector = seat.store.model()
    model = save(_tensors(seat, vector), metadata={"study": seat.launch.study})
    replace(folder / MODEL_FILE, model, SiteConfigError)
    own = asdict(metrics(seat.training.score(vector, None)))
    replace(seat.store.folder / OWN_FIGURES_FILE, to_canonical(own) + b"\n", SiteConfigError)
    card = _card(seat, sha256(model))
    replace(folder / CARD_FILE, to_canonical(card) + b"\n", SiteConfigError)
    replace(folder / "card.md", _markdown(card).encode("utf-8"), SiteConfigError)
    return sha256(model)


def _tensors(seat: Seat, vector: Vector) -> dict[str, np.ndarray[Any, Any]]:
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    start = 0
    for name, shape in seat.training.shapes():
        size = int(np.prod(shape))
        tensors[name] = vector[start : start + size].reshape(shape).astype(np.float32)
        start += size
    return tensors


def _card(seat: Seat, model_sha256: str) -> dict[str, Any]:
    terms, budget = seat.terms, seat.ledger.budget_of(seat.launch.study)
    head = seat.head()
    return {
        "card": 1,
        "study": seat.launch.study,
        "purpose": terms.purpose,
        "terms_sha256": terms.digest,
        "model": {
            "name": terms.model.name,
            "options": dict(terms.model.options),
            "inputs": terms.data.inputs,
            "parameters": seat.launch.parameters,
            "sha256": model_sha256,
        },
        "rounds": {
            "planned": terms.training.rounds,
            "applied": sum(terms.trains(each.round) for each in seat.state.applied),
            "sites": {str(each.round): list(each.sites) for each in seat.state.applied},
        },
        "privacy": {
            "private": terms.privacy.epsilon is not None,
            "epsilon": terms.privacy.epsilon,
            "delta": terms.privacy.delta,
            "unit": terms.privacy.unit,
            "neighbouring": terms.privacy.neighbouring,
            "placement": terms.privacy.placement,
            "clipping_norm": terms.privacy.clipping_norm,
            "noise_multiplier": seat.state.noise_multiplier,
            "accountant": "Renyi at integer orders, sub-sampled Gaussian",
            "updates_sealed": terms.sealing.scheme is not Scheme.OPEN,
            "test_patients_protected": terms.evaluation.epsilon is not None or not terms.evaluation.rounds,
            "evaluation_epsilon": terms.evaluation.epsilon,
        },
        "evaluation": [
            {"after_round": each.round, **asdict(metrics(each.counts))} for each in seat.state.evaluations
        ],
        "site": {
            "name": seat.site,
            "patients_about": seat.patients,
            "epsilon_spent_by_this_study": seat.epsilon_spent(),
            "epsilon_left": budget.epsilon_left,
            "ledger": {"number": head.number, "hash": head.hash},
        },
    }


def _markdown(card: dict[str, Any]) -> str:
    model, privacy, site = card["model"], card["privacy"], card["site"]
    if privacy["private"]:
        promise = (
            f"epsilon {privacy['epsilon']:g}, delta {privacy['delta']:g} for each training patient of each site "
            f"({privacy['neighbouring']} {privacy['unit']}, {privacy['placement']} noise, "
            f"clipping norm {privacy['clipping_norm']:g})"
        )
    else:
        promise = "**none**: this model was trained without differential privacy and may reveal its patients"
    sealed = "sealed: nobody could read a single site's"
    if not privacy["updates_sealed"]:
        sealed = "**not sealed**: the coordinator could read every site's"
    if privacy["test_patients_protected"]:
        test = f"epsilon {privacy['evaluation_epsilon']:g}" if privacy["evaluation_epsilon"] else "not used"
    else:
        test = "**not protected**: their totals were opened without noise"
    lines = [
        f"# {card['study']}",
        "",
        card["purpose"],
        "",
        "| | |",
        "| --- | --- |",
        f"| model | {model['name']}, {model['parameters']} parameters, {model['inputs']} inputs |",
        f"| file | `{MODEL_FILE}`, SHA-256 `{model['sha256']}` |",
        f"| rounds | {card['rounds']['applied']} of {card['rounds']['planned']} |",
        f"| privacy of training patients | {promise} |",
        f"| privacy of test patients | {test} |",
        f"| updates | {sealed} |",
        f"| terms | SHA-256 `{card['terms_sha256']}` |",
        f"| this site | {site['name']}, about {site['patients_about']} patients, "
        f"ledger entry {site['ledger']['number']} `{site['ledger']['hash']}` |",
        "",
        "## Evaluation on the sites' held-out patients",
        "",
        "| after round | AUROC | accuracy | sensitivity | specificity | patients |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {each['after_round']} | {_figure(each['auroc'])} | {_figure(each['accuracy'])} | "
        f"{_figure(each['sensitivity'])} | {_figure(each['specificity'])} | {each['patients']} |"
        for each in card["evaluation"]
    ]
    return "\n".join(lines) + "\n"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
