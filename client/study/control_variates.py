"""Compute a site's control variate, which turns its local steps towards the common optimum (SCAFFOLD).

Karimireddy et al. 2020 (arXiv 1910.06378), option II. A local step follows ``gradient + c - c_i``. c is shared, and
all sites advance it alike (``models/federated/server_optimiser.py``). c_i is this site's own; it is zero at first,
and after a round it becomes

    c_i - c - update / reach,   reach = local steps * their rate,

which is the mean of the round's gradients.

Rules:

* with privacy these gradients are noised and paid already. A variate is computed from them, from c and from c_i,
  and from nothing else: post-processing, which costs nothing (``docs/privacy.md``);
* c_i is that of the last applied round whose cohort had this site. A round that is void, or that was applied
  without this site, leaves c_i as it was: it left c so too, or moved c by the others' changes alone;
* c is the mean of all c_i, weighted as updates are: otherwise it would turn all sites away from the common optimum;
* c_i stays at the site; no message has a field for it.
"""

from collections.abc import Mapping

from client.study.context import StudyContext
from models.federated.server_optimiser import LocalWork
from models.parameters.vector import Vector
from privacy.secure_aggregation.round_layout import compute_weight
from privacy.study import Terms


def compute_control_correction(context: StudyContext) -> Vector | None:
    """Compute what local steps add to every gradient now, c - c_i, (P,); None without control variates.

    Run by a site.

    Raises:
        SiteConfigError: the model or the site's own variate is damaged.
    """
    if not context.terms.training.control_variates:
        return None
    shared = context.store.read_shared_variate()
    number = context.find_last_part()
    return shared.copy() if number is None else shared - context.store.read_variate(number)


def keep_variate(context: StudyContext, number: int, correction: Vector, update: Vector) -> None:
    """Store the own variate that round ``number`` gives; it holds if the round is applied with this site.

    Run by a site.
    """
    # correction is c - c_i (option II of the source)
    context.store.keep_variate(number, -correction - update / compute_step_length(context.terms, number))


def forget_variates(context: StudyContext) -> None:
    """Remove the own variates up to the applied round, except for the one that holds.

    Run by a site after a round is applied.
    """
    if context.terms.training.control_variates:
        context.store.forget_variates(upto=context.state.base, but=context.find_last_part())


def compute_local_work(
    context: StudyContext, number: int, patients: Mapping[str, int], reference: int
) -> LocalWork | None:
    """Compute the local work behind the mean update of round ``number``; None without control variates.

    A site whose patient count no applied round has shown yet has no variate either: it weighs nothing so far.

    Args:
        context: this site's.
        number: the round.
        patients: the cohort with its public patient counts.
        reference: the patient count that weighs 1.
    """
    if not context.terms.training.control_variates:
        return None
    before = {**dict.fromkeys(context.launch.names, 0), **context.history.patients}

    # in the order of names: a sum of floats depends on its order, and every site needs the same bits
    def sum_weights(counts: Mapping[str, int]) -> float:
        return sum(compute_weight(context.terms, counts[name], reference) for name in sorted(counts))

    whole = sum_weights({**before, **patients})
    return LocalWork(
        compute_step_length(context.terms, number),
        share=sum_weights(patients) / whole,
        kept=sum_weights(before) / whole,
    )


def compute_step_length(terms: Terms, number: int) -> float:
    """Return the reach of round ``number``: its local steps times their rate."""
    return terms.training.local_steps * terms.training.compute_learning_rate(number)
