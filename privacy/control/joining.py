"""Join a federation with an invitation: deliver the request, and collect the admission once a person has admitted.

* Run by a site, an operator or an auditor. Until they are admitted they have no certificate; the federation's
  authority, which the invitation names, proves that the coordinator answers.
* An admission counts only if it is by the coordinator that the invitation names, and for this party's own keys.
* Every step can be repeated: the same request is the same request, and an admission can be collected again.
"""

import datetime
import time
from collections.abc import Callable
from typing import Final

from privacy.control.channel import ControlClient, NotRunningError
from privacy.document import parse
from privacy.errors import Error, WireError
from privacy.keys import PublicKey
from privacy.protocol.enrolment import Admission, JoinRequest, SignedAdmission, SignedJoinRequest
from privacy.protocol.invitation import Invitation

_ASK_EVERY_S: Final = 2.0


def require_valid(invitation: Invitation, now: datetime.datetime, error: type[Error]) -> None:
    """Refuse an invitation that ran out.

    Raises:
        error: it did.
    """
    if now > invitation.expires:
        raise error(
            f"the invitation ran out on {invitation.expires:%Y-%m-%d %H:%M} UTC; ask the operator of "
            f"'{invitation.federation}' for another one (and see whether this machine's clock is right)"
        )


def deliver_request(invitation: Invitation, signed: SignedJoinRequest) -> str:
    """Send a join request with the invitation's token; return the fingerprint that the coordinator has received.

    Raises:
        Error: the coordinator refuses it, or cannot be reached.
    """
    client = ControlClient.remote(invitation.address, invitation.authority.encode("ascii"))
    try:
        answer = client.call("Join", token=invitation.token, request=signed.model_dump(mode="json"))
    finally:
        client.close()
    return str(answer["fingerprint"])


def collect_admission(
    invitation: Invitation, request: JoinRequest, wait_s: float, error: type[Error], tell: Callable[[str], None]
) -> SignedAdmission | None:
    """Ask for the admission until it is there; None if it is not within ``wait_s``.

    Raises:
        error: the admission that came is not by the invited coordinator, or not for this request's keys.
        Error: the coordinator refuses, or cannot be reached at all.
    """
    deadline = time.monotonic() + wait_s
    client = ControlClient.remote(invitation.address, invitation.authority.encode("ascii"))
    try:
        while True:
            try:
                answer = client.call("Collect", token=invitation.token)
            except NotRunningError as absent:
                tell(f"{absent}; trying again")
                answer = {"state": "waiting"}
            if answer["state"] == "admitted":
                signed = parse(answer["admission"], SignedAdmission, error, "the admission")
                require_ours(signed, invitation, request, error)
                return signed
            if time.monotonic() + _ASK_EVERY_S > deadline:
                return None
            time.sleep(_ASK_EVERY_S)
    finally:
        client.close()


def require_ours(
    signed: SignedAdmission, invitation: Invitation, request: JoinRequest, error: type[Error]
) -> Admission:
    """Verify that an admission is the answer to this invitation and request; return it.

    Raises:
        error: it is not.
    """
    try:
        admission = signed.verify(PublicKey.from_text(invitation.coordinator))
    except WireError:
        raise error("the admission is not by the coordinator that the invitation names; ask its operator") from None
    expected = (invitation.federation, request.name, request.role, request.identity)
    if (admission.federation, admission.name, admission.role, admission.identity) != expected:
        raise error(
            "the admission is for another federation, name or key than this installation's; ask its operator"
        )
    return admission
