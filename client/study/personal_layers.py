"""Keep a site's personal layers: trained with the shared ones, never sent, stored round by round.

FedBN (Li et al. 2021, arXiv 2102.07623) keeps normalisation at each site, FedRep (Collins et al. 2021, arXiv
2102.07078) the head; which layers stay is in the terms (model.personal).

Rules:

* they begin at the same values everywhere, and change only by this site's own rounds;
* what a round makes of them holds if that round is applied with this site in its cohort: a round that is void, or
  that was applied without this site, leaves them as they were;
* no message has a field for them, and no file under ``release/``; they end in ``own-layers.safetensors``.
"""

from typing import Final

from client.study.context import StudyContext
from models.parameters.vector import Vector

OWN_LAYERS_FILE: Final = "own-layers.safetensors"


def load_personal_layers(context: StudyContext, base: int | None = None) -> Vector | None:
    """Load the personal layers beside the model after round ``base`` (now, if not given); (Q,).

    Run by a site. None where they are at their first values, or the terms have none.

    Raises:
        SiteConfigError: they are damaged, or missing.
    """
    number = context.find_last_part(base) if context.terms.model.personal else None
    return None if number is None else context.store.read_personal_layers(number)


def keep_personal_layers(context: StudyContext, number: int, values: Vector) -> None:
    """Store what round ``number`` makes of the personal layers; it holds if the round is applied with this site.

    Run by a site.
    """
    if context.terms.model.personal:
        context.store.keep_personal_layers(number, values)


def forget_personal_layers(context: StudyContext) -> None:
    """Remove the personal layers that belong neither to the model now nor to the best one so far.

    Run by a site after a round is applied.
    """
    if context.terms.model.personal:
        best = context.state.best
        bases = [context.state.base] if best is None else [context.state.base, best.round]
        context.store.forget_personal_layers(
            upto=context.state.base, but={context.find_last_part(base) for base in bases}
        )
