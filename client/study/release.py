"""The end of a study at a site: the model it releases, and a card that says what it is and what it cost.

``studies/NAME/release/`` holds ``model.safetensors`` (named tensors, float32), ``contract.json``, which says how it is
used (``client/prediction/release_contract.py``), and ``card.json`` and ``card.md`` with the same facts. Figures in
the card come from the terms, from opened totals and from the ledger, not from records.
``studies/NAME/own-figures.json``, beside it, is how the model does on this site's own test patients (``global``),
and how it does with this site's own layers where the terms let layers stay (``local``): computed from records
without noise, for this site's eyes, named nowhere else. ``studies/NAME/own-layers.safetensors`` are these layers.

In the model file, which is the same at every site, own layers are at their first values and adapters are merged: it is
a plain model of the catalogue, whatever was trained of it.
"""

import logging
from dataclasses import asdict
from typing import Final

from safetensors.numpy import save

from client.prediction.release_contract import CONTRACT_FILE, MODEL_FILE, make_contract
from client.study.context import StudyContext
from client.study.cut_values import list_edge_facts
from client.study.model_card import format_markdown, make_card
from client.study.personal_layers import OWN_LAYERS_FILE, load_personal_layers
from client.study.released_model import Chosen, choose_model, list_choice_facts
from client.training.jobs import ExportModel, ExportPersonal, ScoreModel
from models.tasks.binary import compute_metrics
from privacy.canonical import compute_sha256, to_canonical
from privacy.errors import StorageError
from privacy.files import replace_file

_log = logging.getLogger(__name__)

CARD_FILE: Final = "card.json"
OWN_FIGURES_FILE: Final = "own-figures.json"


def write_release(context: StudyContext) -> str:
    """Run by a site. Write the released model, its card, and the own figures; SHA-256 of the model file.

    Every site writes the same bytes of the model file.
    """
    folder = context.store.folder / "release"
    folder.mkdir(exist_ok=True)
    choice = choose_model(context)
    model = save(context.training.run(ExportModel(choice.vector)), metadata={"study": context.launch.study})
    replace_file(folder / MODEL_FILE, model, StorageError)
    contract = make_contract(context.launch.study, context.terms, compute_sha256(model)).to_bytes() + b"\n"
    replace_file(folder / CONTRACT_FILE, contract, StorageError)
    _write_own_files(context, choice)
    card = (
        make_card(context, compute_sha256(model), compute_sha256(contract))
        | list_choice_facts(context, choice)
        | list_edge_facts(context)
    )
    replace_file(folder / CARD_FILE, to_canonical(card) + b"\n", StorageError)
    replace_file(folder / "card.md", format_markdown(card).encode("utf-8"), StorageError)
    return compute_sha256(model)


def _write_own_files(context: StudyContext, choice: Chosen) -> None:
    """Write what stays here: figures of this site's own test patients, and its own layers.

    They come from records, so whatever goes wrong with them must not be seen from outside: the study closes all the
    same, and the site's log says why they are missing.
    """
    try:
        _write_own_figures(context, choice)
    except Exception:
        _log.exception(
            "%s: the figures of this site's own test patients could not be written", context.launch.study
        )


def _write_own_figures(context: StudyContext, choice: Chosen) -> None:
    figures = {"global": asdict(compute_metrics(context.training.run(ScoreModel(choice.vector, None))))}
    if context.terms.model.personal:
        own = load_personal_layers(context, choice.round)
        figures["local"] = asdict(compute_metrics(context.training.run(ScoreModel(choice.vector, None, own))))
        layers = save(context.training.run(ExportPersonal(own)), metadata={"study": context.launch.study})
        replace_file(context.store.folder / OWN_LAYERS_FILE, layers, StorageError)
    replace_file(context.store.folder / OWN_FIGURES_FILE, to_canonical(figures) + b"\n", StorageError)
