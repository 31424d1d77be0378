"""A site's own control variate, which turns its local steps towards everybody's optimum (SCAFFOLD).

Karimireddy et al. 2020 (arXiv 1910.06378), option II. A local step goes down ``gradient + c - c_i``: c is shared and
advanced by all sites alike (``models/federated/server_optimiser.py``), c_i is this site's own, zero at first, and
after a round

    c_i - c - update / reach,   reach = local steps * their rate,

which is the mean of the round's gradients.

Rules:

* with privacy these gradients are noised and paid already; a variate is computed from them, from c and from c_i, and
  from nothing else: post-processing, which costs nothing (``docs/privacy.md``);
* c_i is that of the last applied round whose cohort had this site: a round that is void, or that was applied without
  this site, leaves it as it was, since it left c so, or moved c by the others' changes alone;
* c is the mean of all c_i, weighted as updates are: otherwise it would turn all sites away from everybody's optimum;
* c_i stays at the site; no message has a field for it.
"""

from collections.abc import Mapping

from client.study.context import StudyContext
from models.federated.server_optimiser import LocalWork
from models.parameters.vector import Vector
from privacy.secure_aggregation.round_layout import compute_weight
from privacy.study import Terms


def compute_control_correction(context: StudyContext) -> Vector | None:
    """Run by a site. What its local steps add to every gradient now, c - c_i, (P,); None if the terms do without.

    Raises:
        SiteConfigError: the model or the own variate is damaged.
    """
    if not context.terms.training.control_variates:
        return None
    shared = context.store.read_shared_variate()
    number = context.find_last_part()
    return shared.copy() if number is None else shared - context.store.read_variate(number)


def keep_variate(context: StudyContext, number: int, correction: Vector, update: Vector) -> None:
    """Run by a site. Store the own variate that round ``number`` gives, should it be applied with this site."""
    context.store.keep_variate(number, -correction - update / compute_step_length(context.terms, number))


def forget_variates(context: StudyContext) -> None:
    """Run by a site after a round is applied. Remove its variates up to that round but for the one that holds."""
    if context.terms.training.control_variates:
        context.store.forget_variates(upto=context.state.base, but=context.find_last_part())


def compute_local_work(
    context: StudyContext, number: int, patients: Mapping[str, int], reference: int
) -> LocalWork | None:
    """What lies behind the mean update of round ``number``; None if the terms do without control variates.

    A site whose patients no applied round has told yet has no variate either: it weighs nothing so far.

    Args:
        context: this site's.
        number: the round.
        patients: the cohort with its public patient counts.
        reference: what the study's weights are measured in.
    """
    if not context.terms.training.control_variates:
        return None
    before = dict.fromkeys(context.launch.names, 0)
    for each in context.state.applied:
        before.update(zip(each.sites, each.patients, strict=True))

    def weight(counts: Mapping[str, int]) -> float:
        return sum(compute_weight(context.terms, counts[name], reference) for name in sorted(counts))

    whole = weight({**before, **patients})
    return LocalWork(
        compute_step_length(context.terms, number), share=weight(patients) / whole, kept=weight(before) / whole
    )


def compute_step_length(terms: Terms, number: int) -> float:
    """Local steps of round ``number`` times their rate."""
    return terms.training.local_steps * terms.training.compute_learning_rate(number)
