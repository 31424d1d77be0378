"""Write a site's release at the end of a study: the model, and a card that says what it is and what it cost.

::

    studies/NAME/unpublished/                 what release/ gets once the ledger has the release; a person may decide
    studies/NAME/release/model.safetensors    named tensors, float32; the same bytes at every site
    studies/NAME/release/contract.json        how the model is used (``client/prediction/release_contract.py``)
    studies/NAME/release/card.json, card.md   the card: the same facts twice (``client/study/model_card.py``)
    studies/NAME/own-figures.json             how the model does on this site's own test patients
    studies/NAME/own-layers.safetensors       this site's personal layers

Rules:

* figures in the card come from the terms, from opened totals and from the ledger, not from records;
* ``own-figures.json`` has figures of the released model (``global``), and of the model with this site's personal
  layers where the terms have them (``local``). They are computed from records without noise: they are for this site
  only, and no other file names them;
* in the model file personal layers are at their first values and adapters are merged: it is a plain model of the
  catalogue, whatever was trained of it.
"""

import logging
from collections.abc import Sequence
from typing import Final

from safetensors.numpy import save

from client.prediction.release_contract import CONTRACT_FILE, MODEL_FILE, make_contract
from client.study.context import StudyContext
from client.study.model_card import format_markdown, make_card
from client.study.personal_layers import OWN_LAYERS_FILE, load_personal_layers
from client.study.release_folder import UNPUBLISHED
from client.study.released_model import Chosen, choose_model
from client.training.jobs import ExportModel, ExportPersonal, ScoreModel
from models.tasks.registry import make_task
from privacy.canonical import Json, compute_sha256, to_canonical
from privacy.errors import StorageError
from privacy.files import replace_file
from privacy.study import Terms

_log = logging.getLogger(__name__)

CARD_FILE: Final = "card.json"
OWN_FIGURES_FILE: Final = "own-figures.json"


def write_release(context: StudyContext) -> str:
    """Write the model, its card, and the site's own figures, unpublished; return the SHA-256 of the model file.

    Run by a site. Every site writes the same bytes of the model file.
    """
    folder = context.store.folder / UNPUBLISHED
    folder.mkdir(exist_ok=True)
    choice = choose_model(context)
    model = save(context.training.run(ExportModel(choice.vector)), metadata={"study": context.launch.study})
    replace_file(folder / MODEL_FILE, model, StorageError)
    contract = make_contract(context.launch.study, context.terms, compute_sha256(model)).to_bytes() + b"\n"
    replace_file(folder / CONTRACT_FILE, contract, StorageError)
    _write_own_files(context, choice)
    card = make_card(context, choice, compute_sha256(model), compute_sha256(contract))
    replace_file(folder / CARD_FILE, card.to_bytes() + b"\n", StorageError)
    replace_file(folder / "card.md", format_markdown(card).encode("utf-8"), StorageError)
    return compute_sha256(model)


def _write_own_files(context: StudyContext, choice: Chosen) -> None:
    """Write what stays here: figures of this site's own test patients, and its personal layers.

    They are computed from records, so a failure here must not be seen from outside. The study closes all the same,
    and the site's log says why they are missing.
    """
    try:
        _write_own_figures(context, choice)
    except Exception:
        _log.exception(
            "%s: the figures of this site's own test patients could not be written", context.launch.study
        )


def _write_own_figures(context: StudyContext, choice: Chosen) -> None:
    figures = {"global": _make_own_figures(context.terms, context.training.run(ScoreModel(choice.vector, None)))}
    if context.terms.model.personal:
        own = load_personal_layers(context, choice.round)
        counts = context.training.run(ScoreModel(choice.vector, None, own))
        figures["local"] = _make_own_figures(context.terms, counts)
        layers = save(context.training.run(ExportPersonal(own)), metadata={"study": context.launch.study})
        replace_file(context.store.folder / OWN_LAYERS_FILE, layers, StorageError)
    replace_file(context.store.folder / OWN_FIGURES_FILE, to_canonical(figures) + b"\n", StorageError)


def _make_own_figures(terms: Terms, counts: Sequence[int]) -> Json:
    task, bins = make_task(terms.task, terms.data), terms.evaluation.bins
    return {"patients": task.count_patients(counts, bins), "figures": dict(task.compute_figures(counts, bins))}
