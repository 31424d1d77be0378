"""Find out where a command works: in the federation's folder, or at another machine with a profile."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from privacy.errors import FederationError
from privacy.study import Terms
from server.federation.folder import Federation

if TYPE_CHECKING:
    from privacy.control.channel import ControlClient
    from server.federation.profile import Profile
    from server.results.documents import StudyResults


def open_place(folder: Path) -> "Federation | Profile":
    """Return the profile in ``folder`` if there is one, else the federation."""
    from server.federation.profile import Profile

    profile = Profile(folder)
    return profile if profile.is_one else Federation(folder)


def connect_to_coordinator(place: "Federation | Profile") -> "ControlClient":
    """Make the client of the coordinator; gRPC is loaded only by commands that call this.

    Raises:
        FederationError: the folder is not a federation's.
    """
    from privacy.control.channel import ControlClient

    if not isinstance(place, Federation):
        return place.connect()
    _ = place.config  # raises if the folder is not a federation's
    return ControlClient.local(place.folder)


def require_federation(place: "Federation | Profile", what: str) -> Federation:
    """Return the federation's folder, for a command that works at the coordinator's own machine alone.

    Raises:
        FederationError: this is a profile at another machine.
    """
    if not isinstance(place, Federation):
        raise FederationError(
            f"{what} works at the coordinator's own machine, in the federation's folder; {place.folder} is a profile"
        )
    return place


def read_study_results(place: "Federation | Profile", study: str) -> "StudyResults":
    """Read the results of ``study``: from the disk, or from the coordinator.

    Raises:
        Error: there is no such study, or the coordinator does not answer.
    """
    from server.results.documents import StudyResults
    from server.results.read import read_results

    if isinstance(place, Federation):
        return read_results(place.require_study_folder(study))
    return StudyResults.model_validate(connect_to_coordinator(place).call("ShowStudy", study=study)["document"])


def list_site_names(place: "Federation | Profile") -> list[str]:
    """List the enrolled sites."""
    if isinstance(place, Federation):
        return sorted(place.read_sites())
    return [each["name"] for each in connect_to_coordinator(place).call("ListSites")["items"]]


def sign_launch(place: "Federation | Profile", terms: Terms, parameters: int, sites: list[str]) -> Any:
    """Sign the order to launch ``terms`` over ``sites``, as a document; None at the coordinator itself, which signs."""
    if isinstance(place, Federation):
        return None
    return place.sign_launch(terms, parameters, sites).model_dump(mode="json")
