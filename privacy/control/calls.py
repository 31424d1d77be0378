"""List every call of the control plane: its messages, who may make it, and whether it changes something.

* This table is the only place that gives rights. A call that is not in it does not exist.
* ``operator`` includes whoever uses the Unix socket in the federation's folder, which its owner alone can enter.
* A call that changes something is signed by its caller (``privacy/control/order.py``) and written into the audit log.
* A call for which no role is named is for parties without a certificate; its own arguments prove what it may do.
"""

from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message

from privacy.client_certificate import Role
from privacy.control import control_pb2 as pb

ENROLMENT: Final = "consilium.v1.Enrolment"
CONTROL: Final = "consilium.v1.Control"
TRANSFER: Final = "consilium.v1.Transfer"


@dataclass(frozen=True)
class Call:
    """A call: its service, the types of its request and its answer, and the roles that may make it.

    ``streams`` and ``takes_stream`` say whether there are many answers, or many requests.
    """

    service: str
    request: type[Message]
    answer: type[Message]
    roles: frozenset[Role]
    changes: bool = False
    streams: bool = False
    takes_stream: bool = False


_ANYBODY: Final = frozenset[Role]()
_OPERATORS: Final = frozenset({Role.OPERATOR})
_READERS: Final = frozenset({Role.OPERATOR, Role.AUDITOR})
_SITES: Final = frozenset({Role.SITE})
_MEMBERS: Final = frozenset({Role.SITE, Role.OPERATOR, Role.AUDITOR})

CALLS: Final[dict[str, Call]] = {
    "Join": Call(ENROLMENT, pb.JoinCall, pb.Joining, _ANYBODY),
    "Collect": Call(ENROLMENT, pb.CollectCall, pb.Collected, _ANYBODY),
    "Renew": Call(CONTROL, pb.RenewCall, pb.Renewed, _MEMBERS, changes=True),
    "AwaitMessages": Call(CONTROL, pb.Nothing, pb.Nothing, _SITES, streams=True),
    "ListSites": Call(CONTROL, pb.Nothing, pb.Listed, _READERS),
    "Invite": Call(CONTROL, pb.InviteCall, pb.Invited, _OPERATORS, changes=True),
    "ListRequests": Call(CONTROL, pb.Nothing, pb.Listed, _OPERATORS),
    "Admit": Call(CONTROL, pb.AdmitCall, pb.Admitted, _OPERATORS, changes=True),
    "Remove": Call(CONTROL, pb.RemoveCall, pb.Nothing, _OPERATORS, changes=True),
    "CountPatients": Call(CONTROL, pb.CountPatientsCall, pb.PatientCount, _OPERATORS),
    "Launch": Call(CONTROL, pb.LaunchCall, pb.Launched, _OPERATORS, changes=True),
    "ListStudies": Call(CONTROL, pb.Nothing, pb.Listed, _READERS),
    "ShowStudy": Call(CONTROL, pb.StudyCall, pb.Shown, _READERS),
    "StopStudy": Call(CONTROL, pb.StudyCall, pb.Stopped, _OPERATORS, changes=True),
    "ResumeStudy": Call(CONTROL, pb.ResumeCall, pb.Nothing, _OPERATORS, changes=True),
    "GiveUpStudy": Call(CONTROL, pb.StudyCall, pb.Nothing, _OPERATORS, changes=True),
    "WatchStudy": Call(CONTROL, pb.WatchCall, pb.Shown, _READERS, streams=True),
    "ExportTestimony": Call(CONTROL, pb.Nothing, pb.Chunk, _READERS, streams=True),
    "ExportHead": Call(CONTROL, pb.HeadCall, pb.Shown, _READERS),
    "ReadLog": Call(CONTROL, pb.ReadLogCall, pb.Shown, _READERS, streams=True),
    "FindUpload": Call(TRANSFER, pb.FindUploadCall, pb.UploadState, _SITES),
    "Upload": Call(TRANSFER, pb.UploadPart, pb.UploadState, _SITES, takes_stream=True),
    "FetchAggregate": Call(TRANSFER, pb.FetchAggregateCall, pb.Chunk, _SITES, streams=True),
}
