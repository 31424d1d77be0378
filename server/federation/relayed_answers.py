"""Verify what the coordinator answered, after the gateway has passed it on.

The gateway ends the TLS connections of both sides, so that it can answer a call itself, or change an answer. An
operator at another machine knows the coordinator's key and the authority from their own admission. Everything that
decides who becomes a member is held against these two:

* an invitation must lead to this coordinator, and be for the party that was to be invited;
* a request must answer such an invitation; its fingerprint is computed here, from the request itself;
* an admission must be signed by this coordinator, and be for the keys of that request.
"""

import hashlib
from typing import Any

from privacy.client_certificate import Role
from privacy.document import parse
from privacy.errors import FederationError, WireError
from privacy.keys import PublicKey
from privacy.protocol.enrolment import Admission, JoinRequest, SignedAdmission
from privacy.protocol.invitation import Invitation
from server.federation.invitations import WaitingRequest

_BETWEEN = (
    "something between you and the coordinator has changed it; do not go on, and call the coordinator's operator"
)


def require_own_invitation(text: str, name: str, role: Role, ours: Admission) -> None:
    """Refuse an invitation that is not for ``name`` as ``role``, or does not lead to our coordinator.

    Raises:
        FederationError: it is not, or does not.
    """
    invitation = Invitation.from_text(text, FederationError)
    leads_to = (invitation.federation, invitation.address, invitation.coordinator, invitation.authority)
    if leads_to != (ours.federation, ours.address, ours.coordinator, ours.ca_certificate):
        raise FederationError(f"the invitation that came leads to another coordinator than yours: {_BETWEEN}")
    if (invitation.name, invitation.role) != (name, role):
        raise FederationError(
            f"the invitation that came is for the {invitation.role} '{invitation.name}', not the {role} '{name}': "
            f"{_BETWEEN}"
        )


def require_own_request(waiting: WaitingRequest, ours: Admission) -> None:
    """Refuse a request that is not signed by its own key, or answers no invitation to our coordinator.

    Raises:
        FederationError: it is not, or answers none.
    """
    assert waiting.request is not None
    try:
        request = waiting.request.verify(PublicKey.from_text(waiting.request.statement.identity))
    except WireError as error:
        raise FederationError(
            f"the request of '{waiting.name}' that came is damaged ({error}): {_BETWEEN}"
        ) from None
    authority = hashlib.sha256(ours.ca_certificate.encode("ascii")).hexdigest()
    if (request.coordinator, request.authority) != (ours.coordinator, authority):
        raise FederationError(
            f"the request of '{waiting.name}' answers an invitation of another coordinator than yours: {_BETWEEN}"
        )
    if (request.name, request.role) != (waiting.name, waiting.role):
        raise FederationError(
            f"the request that came for the {waiting.role} '{waiting.name}' is that of the {request.role} "
            f"'{request.name}': {_BETWEEN}"
        )


def require_own_admission(answered: Any, request: JoinRequest, ours: Admission) -> None:
    """Refuse an admission that is not by our coordinator, or not for the keys of ``request``.

    Raises:
        FederationError: it is not. Whether ``request`` was admitted is then not known.
    """
    refusal = f"the coordinator's word that '{request.name}' is admitted did not come: {_BETWEEN}"
    signed = parse(answered, SignedAdmission, FederationError, "the admission")
    try:
        admission = signed.verify(PublicKey.from_text(ours.coordinator))
    except WireError:
        raise FederationError(refusal) from None
    admitted = (admission.federation, admission.name, admission.role, admission.identity)
    if admitted != (ours.federation, request.name, request.role, request.identity):
        raise FederationError(refusal)
