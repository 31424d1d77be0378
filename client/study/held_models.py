"""Compare the models that sites hold at the end, before any of them releases its own.

In every round but the last, sites that hold different models are noticed in the next one: masks and views depend on
the model. After the last round there is no next one. A site that was given another aggregate, or another weight of
a site, would release another model without noticing. So:

* each site signs a keyed digest of the model that it holds, and of what the released one is chosen by;
* a site closes only if a quorum of the last round's cohort has signed the digest that it has itself. Two quorums
  share a site that does not conspire (``Cohort.compute_quorum``), so honest sites never release different models;
* a site that has signed another digest is recorded as an incident, and does not stop the others: one site cannot
  keep the others from their model;
* a model from which this site has released a mask, in a later round that became void, was compared with that
  round's whole cohort then. Before the first round is applied there is nothing to compare.
"""

from collections.abc import Mapping

from client.study.context import StudyContext
from privacy.errors import RefusedError, WireError
from privacy.keys import PublicKey
from privacy.protocol.messages import HeldModel
from privacy.refusal_codes import RefusalCode
from privacy.signed import Signed


def sign_held_model(context: StudyContext, epoch: int) -> Signed[HeldModel]:
    """Sign which model this site holds, for holders of the epoch's key to compare.

    Run by a site.

    Raises:
        EpochLostError: the epoch's key is not held.
    """
    statement = HeldModel(
        study=context.launch.study,
        launch=context.launch.digest,
        site=context.site,
        epoch=epoch,
        base=context.state.base,
        model=context.digest_held_models(epoch),
    )
    return Signed[HeldModel].sign(context.identity, statement)


def require_same_model(context: StudyContext, signed: Mapping[str, Signed[HeldModel]]) -> None:
    """Check that a quorum of the last round's cohort has signed the model that this site holds.

    Run by a site that is about to close.

    Raises:
        RefusedError: ``too-few`` if no quorum has signed; ``different-models`` if that is because models differ.
    """
    released = context.state.released
    if not context.history.applied or (released is not None and released.base == context.state.base):
        return
    held = _verify_held_models(context, signed)
    own = held.get(context.site)
    if own is None or own.base != context.state.base:
        raise RefusedError(
            RefusalCode.TOO_FEW, f"this site's own word on the model of round {context.state.base} is missing"
        )
    same = {
        name
        for name, each in held.items()
        if (each.epoch, each.base, each.model) == (own.epoch, own.base, own.model)
    }
    if differing := sorted(set(held) - same):
        sentence = f"this site and {', '.join(differing)} hold different models at the end"
        context.ledger.record_incident(context.launch.study, "different-models", sentence, own.base)
    cohort = context.history.applied[-1].sites
    quorum, agreeing = context.terms.cohort.compute_quorum(len(cohort)), len(same & set(cohort))
    if agreeing < quorum:
        raise RefusedError(
            RefusalCode.DIFFERENT_MODELS if differing else RefusalCode.TOO_FEW,
            f"{agreeing} of the last round's {len(cohort)} sites have signed the model that this site holds, expected "
            f"{quorum}; nothing is released here",
        )


def _verify_held_models(context: StudyContext, signed: Mapping[str, Signed[HeldModel]]) -> dict[str, HeldModel]:
    """Return each site's statement on this study, if it has signed one."""
    held = {}
    for member in context.launch.roster:
        if member.name not in signed:
            continue
        try:
            statement = signed[member.name].verify(PublicKey.from_text(member.identity))
        except WireError:
            continue  # counts as not signed, and does not stop the others
        if (statement.study, statement.launch, statement.site) == (
            context.launch.study,
            context.launch.digest,
            member.name,
        ):
            held[member.name] = statement
    return held
