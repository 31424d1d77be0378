"""Check that a sum can hold a round: with noise that sites add over patients, a sum must not wrap around.

Rules:

* a round has ``room`` for so many patients. The coordinator chooses it when the round is first asked; it is the
  same in all attempts, and named in every view: sites that got another room do not release;
* a site accepts no smaller room than its cohort needs by the public counts that the members have signed in their
  key offers (``noise``);
* a site accepts no range, written in the terms, that surely does not hold the sum, and no grid that ruins the noise
  (``noise``). This is found before the round is paid.

A coordinator, or a member, that gives a wrong number of patients makes its own study useless: a larger room means a
coarser grid and more noise, a smaller one sums that wrap around. The noise over what one patient can change is the
same in every case (``privacy/mechanisms/distributed_noise.py``).
"""

from client.study.context import StudyContext
from privacy.errors import RefusedError
from privacy.mechanisms.value_range import count_most_patients
from privacy.protocol.messages import Train
from privacy.refusal_codes import RefusalCode
from privacy.secure_aggregation.round_layout import make_shared_noise
from privacy.study import Placement


def require_room(context: StudyContext, request: Train) -> None:
    """Refuse a round whose sum has no room for what ``request`` asks.

    Run by a site, before it pays for a round.

    Raises:
        EpochLostError: the epoch's keys are lost.
        WireError: the cohort names a site that is no member of the epoch.
        RefusedError: ``noise``: why the sum would not hold; ``refused``: the room is not that of the round.
    """
    terms, sigma = context.terms, context.state.noise_multiplier
    if terms.privacy.placement is not Placement.DISTRIBUTED or sigma is None:
        if request.room:
            raise RefusedError(
                RefusalCode.REFUSED, "the study's sums need no room for patients, and the request names one"
            )
        return
    if terms.sums_patients:
        needed = count_most_patients(context.epochs.find_patient_counts(request.epoch, request.cohort).values())
        if request.room < needed:
            raise RefusedError(
                RefusalCode.NOISE,
                f"round {request.round} has room for {request.room} patients, its cohort may have {needed}: sums "
                "would wrap around",
            )
    if (
        context.store.read_integers(request.round) is not None
        and context.store.read_room(request.round) != request.room
    ):
        raise RefusedError(
            RefusalCode.REFUSED, f"the room of round {request.round} was another in its first attempt"
        )
    noise = make_shared_noise(terms, context.launch.parameters, sigma, room=request.room)
    if (problem := noise.describe_problem(len(request.cohort))) is not None:
        held = f"for the {request.room} patients that all sites may have: " if request.room else ""
        raise RefusedError(RefusalCode.NOISE, held + problem)
