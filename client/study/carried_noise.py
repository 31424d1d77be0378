"""Keep the noise that a later round cancels, where a study's noise is correlated over rounds.

Rules:

* a round carries on the noise of the last applied round whose cohort had this site: what that round left in the shared
  model is cancelled. A round that is void, or that was applied without this site, left none there;
* which noise is carried on changes how much of it stays in the model, never what a patient pays
  (``privacy/accounting/correlated_noise.py``). So where it is missing, as after a restore from backup, the round begins
  anew with independent noise, and only the site's log says so;
* it is a secret: with it, and with what this site has sent, sums of its patients' gradients could be computed. It is in
  no message and no backup, and goes when the study ends.
"""

import logging
from typing import Final

from client.study.context import StudyContext
from models.parameters.vector import Vector
from privacy.errors import SiteConfigError
from privacy.study.fixed_lots import carries_noise

_log: Final = logging.getLogger(__name__)


def load_carried_noise(context: StudyContext) -> Vector | None:
    """Load the noise that the next round carries on, (bands - 1, P); None if there is none.

    Run by a site.
    """
    number = context.find_last_part() if carries_noise(context.terms) else None
    if number is None:
        return None
    try:
        return context.store.read_carried_noise(number)
    except SiteConfigError:
        _log.warning(
            "%s: the noise of round %d is not here any more: it stays in the model, and the next round begins with "
            "noise of its own", context.launch.study, number,
        )  # fmt: skip
        return None


def keep_carried_noise(context: StudyContext, number: int, noise: Vector | None) -> None:
    """Store the noise that round ``number`` leaves; it is carried on if the round is applied with this site.

    Run by a site.
    """
    if noise is not None:
        context.store.keep_carried_noise(number, noise)


def forget_carried_noise(context: StudyContext) -> None:
    """Remove the noise of rounds up to the applied one, except for that which is carried on.

    Run by a site after a round is applied.
    """
    if carries_noise(context.terms):
        context.store.forget_carried_noise(upto=context.state.base, but=context.find_last_part())
