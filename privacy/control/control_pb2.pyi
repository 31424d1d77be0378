from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Nothing(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FindUploadCall(_message.Message):
    __slots__ = ("study", "mask")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    study: str
    mask: str
    def __init__(self, study: _Optional[str] = ..., mask: _Optional[str] = ...) -> None: ...

class UploadState(_message.Message):
    __slots__ = ("stored", "sha256")
    STORED_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    stored: int
    sha256: str
    def __init__(self, stored: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class UploadPart(_message.Message):
    __slots__ = ("study", "mask", "length", "offset", "data")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    study: str
    mask: str
    length: int
    offset: int
    data: bytes
    def __init__(self, study: _Optional[str] = ..., mask: _Optional[str] = ..., length: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class FetchAggregateCall(_message.Message):
    __slots__ = ("study", "round", "offset")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    study: str
    round: int
    offset: int
    def __init__(self, study: _Optional[str] = ..., round: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...

class JoinCall(_message.Message):
    __slots__ = ("token", "request_json")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_JSON_FIELD_NUMBER: _ClassVar[int]
    token: str
    request_json: str
    def __init__(self, token: _Optional[str] = ..., request_json: _Optional[str] = ...) -> None: ...

class Joining(_message.Message):
    __slots__ = ("fingerprint",)
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    fingerprint: str
    def __init__(self, fingerprint: _Optional[str] = ...) -> None: ...

class CollectCall(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: str
    def __init__(self, token: _Optional[str] = ...) -> None: ...

class Collected(_message.Message):
    __slots__ = ("state", "admission_json")
    STATE_FIELD_NUMBER: _ClassVar[int]
    ADMISSION_JSON_FIELD_NUMBER: _ClassVar[int]
    state: str
    admission_json: str
    def __init__(self, state: _Optional[str] = ..., admission_json: _Optional[str] = ...) -> None: ...

class RenewCall(_message.Message):
    __slots__ = ("signing_request", "node_proof")
    SIGNING_REQUEST_FIELD_NUMBER: _ClassVar[int]
    NODE_PROOF_FIELD_NUMBER: _ClassVar[int]
    signing_request: str
    node_proof: str
    def __init__(self, signing_request: _Optional[str] = ..., node_proof: _Optional[str] = ...) -> None: ...

class Renewed(_message.Message):
    __slots__ = ("certificate",)
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    certificate: str
    def __init__(self, certificate: _Optional[str] = ...) -> None: ...

class Listed(_message.Message):
    __slots__ = ("items_json",)
    ITEMS_JSON_FIELD_NUMBER: _ClassVar[int]
    items_json: str
    def __init__(self, items_json: _Optional[str] = ...) -> None: ...

class InviteCall(_message.Message):
    __slots__ = ("name", "role", "contact", "hours")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTACT_FIELD_NUMBER: _ClassVar[int]
    HOURS_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: str
    contact: str
    hours: int
    def __init__(self, name: _Optional[str] = ..., role: _Optional[str] = ..., contact: _Optional[str] = ..., hours: _Optional[int] = ...) -> None: ...

class Invited(_message.Message):
    __slots__ = ("invitation",)
    INVITATION_FIELD_NUMBER: _ClassVar[int]
    invitation: str
    def __init__(self, invitation: _Optional[str] = ...) -> None: ...

class AdmitCall(_message.Message):
    __slots__ = ("name", "fingerprint")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    name: str
    fingerprint: str
    def __init__(self, name: _Optional[str] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class Admitted(_message.Message):
    __slots__ = ("admission_json",)
    ADMISSION_JSON_FIELD_NUMBER: _ClassVar[int]
    admission_json: str
    def __init__(self, admission_json: _Optional[str] = ...) -> None: ...

class RemoveCall(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CountPatientsCall(_message.Message):
    __slots__ = ("contract_json", "sites")
    CONTRACT_JSON_FIELD_NUMBER: _ClassVar[int]
    SITES_FIELD_NUMBER: _ClassVar[int]
    contract_json: str
    sites: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, contract_json: _Optional[str] = ..., sites: _Optional[_Iterable[str]] = ...) -> None: ...

class PatientCount(_message.Message):
    __slots__ = ("patients", "sites")
    PATIENTS_FIELD_NUMBER: _ClassVar[int]
    SITES_FIELD_NUMBER: _ClassVar[int]
    patients: int
    sites: int
    def __init__(self, patients: _Optional[int] = ..., sites: _Optional[int] = ...) -> None: ...

class LaunchCall(_message.Message):
    __slots__ = ("terms_json", "parameters", "sites", "order_json")
    TERMS_JSON_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    SITES_FIELD_NUMBER: _ClassVar[int]
    ORDER_JSON_FIELD_NUMBER: _ClassVar[int]
    terms_json: str
    parameters: int
    sites: _containers.RepeatedScalarFieldContainer[str]
    order_json: str
    def __init__(self, terms_json: _Optional[str] = ..., parameters: _Optional[int] = ..., sites: _Optional[_Iterable[str]] = ..., order_json: _Optional[str] = ...) -> None: ...

class Launched(_message.Message):
    __slots__ = ("study",)
    STUDY_FIELD_NUMBER: _ClassVar[int]
    study: str
    def __init__(self, study: _Optional[str] = ...) -> None: ...

class StudyCall(_message.Message):
    __slots__ = ("study",)
    STUDY_FIELD_NUMBER: _ClassVar[int]
    study: str
    def __init__(self, study: _Optional[str] = ...) -> None: ...

class Stopped(_message.Message):
    __slots__ = ("standing",)
    STANDING_FIELD_NUMBER: _ClassVar[int]
    standing: str
    def __init__(self, standing: _Optional[str] = ...) -> None: ...

class ResumeCall(_message.Message):
    __slots__ = ("study", "readmit")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    READMIT_FIELD_NUMBER: _ClassVar[int]
    study: str
    readmit: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, study: _Optional[str] = ..., readmit: _Optional[_Iterable[str]] = ...) -> None: ...

class WatchCall(_message.Message):
    __slots__ = ("study", "after")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    study: str
    after: int
    def __init__(self, study: _Optional[str] = ..., after: _Optional[int] = ...) -> None: ...

class Shown(_message.Message):
    __slots__ = ("document_json",)
    DOCUMENT_JSON_FIELD_NUMBER: _ClassVar[int]
    document_json: str
    def __init__(self, document_json: _Optional[str] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class HeadCall(_message.Message):
    __slots__ = ("site",)
    SITE_FIELD_NUMBER: _ClassVar[int]
    site: str
    def __init__(self, site: _Optional[str] = ...) -> None: ...

class ReadLogCall(_message.Message):
    __slots__ = ("after",)
    AFTER_FIELD_NUMBER: _ClassVar[int]
    after: int
    def __init__(self, after: _Optional[int] = ...) -> None: ...
