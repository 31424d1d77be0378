"""Limit sums without noise: each of them may be opened in one cohort only.

Two sums of the same updates, or of the same totals, over cohorts that differ by one site differ by that site's own.
With noise of its own that difference is private. Without noise (``privacy.epsilon: none``, or exact totals over
test patients) it is the site's update, or its patients' histogram, exactly. So:

* from one model, a site lets a noiseless sum be opened in one cohort only, whatever the round's number, the attempt, or
  the result of the sum;
* a model is identified by its digest: a round that does not move the model makes a new number of the same model.

A round that moves the model by almost nothing is not covered (``docs/threat-model.md``).
"""

from client.study.context import StudyContext
from client.study.history import NoiselessSum
from privacy.canonical import compute_digest
from privacy.errors import RefusedError
from privacy.refusal_codes import RefusalCode


def list_noiseless_sum(context: StudyContext, number: int, cohort: tuple[str, ...]) -> list[NoiselessSum]:
    """List what the history records of a noiseless sum; nothing where the sum has noise, or it is recorded already.

    Run by a site that is about to release.
    """
    if not context.terms.opens_without_noise(number, context.state.base):
        return []
    model, digest = context.store.digest_model(), compute_digest(cohort)
    known = context.history.noiseless_sums.get(model) == digest
    return [] if known else [NoiselessSum(model=model, cohort=digest)]


def require_same_cohort(context: StudyContext, number: int, cohort: tuple[str, ...]) -> None:
    """Refuse a noiseless sum of a model from which this site has released one in another cohort.

    Run by a site before it seals.

    Raises:
        RefusedError: ``release-refused``: it has released a noiseless sum from this model in another cohort.
    """
    if not context.history.noiseless_sums or not context.terms.opens_without_noise(number, context.state.base):
        return
    before = context.history.noiseless_sums.get(context.store.digest_model())
    if before is not None and before != compute_digest(cohort):
        raise RefusedError(
            RefusalCode.RELEASE_REFUSED,
            "this site has released its mask of a sum without noise from the same model: another such sum needs the "
            "identical cohort",
        )
