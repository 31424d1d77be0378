"""Launch a study from the command line: check it, sign the order, ask the coordinator."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from privacy.study import Terms
from server.commands.connect import connect_to_coordinator, list_site_names, sign_launch
from server.commands.study_check import count_known_patients, require_no_problem

if TYPE_CHECKING:
    from server.federation.folder import Federation
    from server.federation.profile import Profile


def launch(place: "Federation | Profile", terms: Terms, names: Sequence[str], *, despite: bool = False) -> str:
    """Launch ``terms`` over the sites ``names``, or over all enrolled ones if there are none; return the study.

    Raises:
        TermsError: sites would refuse it, unless ``despite``.
        FederationError: the coordinator does not answer, or refuses.
    """
    from server.study.check import check_study

    invited = sorted(set(names) or list_site_names(place))
    found = check_study(
        terms, patients=count_known_patients(place, terms, tuple(names)), sites=len(invited) or None
    )
    if not despite:
        require_no_problem(found, "sites would refuse it; --despite launches it all the same")
    order = sign_launch(place, terms, found.parameters, invited)
    launched = connect_to_coordinator(place).call(
        "Launch", terms=terms.model_dump(mode="json"), parameters=found.parameters, sites=invited, order=order
    )
    return str(launched["study"])
