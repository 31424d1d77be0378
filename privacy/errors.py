"""The tree of errors, by who must act.

::

    Error                     every expected failure
    ├── StudyError            the study's author must act
    │   └── TermsError          a study file or terms that cannot be used
    ├── SiteError             the site engineer or the data protection officer must act
    │   ├── SiteConfigError     the site's folder or configuration
    │   ├── KeyFileError        a key file: missing, malformed, or readable by others
    │   ├── DataError           registered data that break their contract
    │   │   └── DataUnavailableError  registered data that cannot be read now
    │   ├── UnknownPatientsError  patients were named who are not known here; the rest is done
    │   ├── RefusedError        the site's own rules refuse (policy, peers, admission)
    │   ├── BudgetError         the privacy budget does not allow it
    │   ├── LedgerError         the ledger cannot be believed, or is not there
    │   ├── StorageError        the ledger or a file cannot be read or written now
    │   ├── TrainingError       local training failed
    │   ├── LinkError           the site cannot reach or stay with its coordinator
    │   ├── ContradictionError  records that contradict each other
    │   ├── ReleaseError        a released model's folder cannot be used
    │   ├── SiteHealthError     a check of the site is red
    │   └── RefutedError        an audit refutes what a study claims
    ├── CoordinatorError      the coordinator's operator must act
    │   ├── FederationError     the federation's folder or an enrolment file
    │   ├── SuperLinkError      the Flower SuperLink does not start or answer
    │   ├── StoppedError        a study cannot continue
    │   ├── RefusedCallError    a call of the control plane that its caller may not make
    │   └── CoordinatorHealthError  a check of the coordinator is red
    └── ProtocolError         another party sent something that is refused
        ├── WireError           a message that is malformed, unsigned, replayed or too large
        └── SealingError        a ciphertext, mask or aggregate that must not be used

Rules:

* A message is one sentence: what, why, what was expected and what came, the next step. Lower case at the start.
* A message never holds a record's value or a secret.
* ``exit_code`` is documented in ``docs/exit-codes.md`` and never reused.
* Verification raises; it never returns a boolean.
"""

from typing import ClassVar, Literal

from privacy.refusal_codes import RefusalCode


class Error(Exception):
    """The base of all expected failures; its message is a sentence for the person who must act."""

    exit_code: ClassVar[int] = 1


class StudyError(Error):
    """The study's author must act."""

    exit_code = 10


class TermsError(StudyError):
    """A study file, or terms, that cannot be used; also a PROBLEM that ``consilium study check`` finds."""

    exit_code = 11


class SiteError(Error):
    """The site engineer or the data protection officer must act."""

    exit_code = 20


class SiteConfigError(SiteError):
    """The site's folder or its configuration cannot be used."""

    exit_code = 21


class KeyFileError(SiteError):
    """A key file is missing, malformed, or readable by others."""

    exit_code = 22


class DataError(SiteError):
    """Data that break their contract. The message names columns and counts, never a value."""

    exit_code = 23


class DataUnavailableError(DataError):
    """Data that cannot be read now: a share that is not mounted, a disk that fails. Trying again may help."""

    exit_code = 30


class UnknownPatientsError(SiteError):
    """Patients were named who are not known here. What was asked is done for all of them; compare the spelling."""

    exit_code = 32


class RefusedError(SiteError):
    """The site's own rules refuse what was asked; ``code`` names the rule for programs."""

    exit_code = 24

    def __init__(self, code: RefusalCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class BudgetError(SiteError):
    """The privacy budget does not allow it."""

    exit_code = 25


class LedgerError(SiteError):
    """The ledger cannot be believed, or is not there. Waiting mends nothing: people must act."""

    exit_code = 26


class StorageError(SiteError):
    """The ledger, or a file of the site's, cannot be read or written now: locked, a full disk. Nothing was done.

    It passes by itself, or when people make room, and then the request can be repeated. ``what`` is "ledger" or
    "disk", and is the only part of the error that may leave the site.
    """

    exit_code = 31

    def __init__(self, sentence: str, what: Literal["ledger", "disk"] = "disk") -> None:
        super().__init__(sentence)
        self.what = what


class TrainingError(SiteError):
    """Local training failed."""

    exit_code = 27


class LinkError(SiteError):
    """The site cannot reach, or stay with, its coordinator."""

    exit_code = 28


class ContradictionError(SiteError):
    """Records of the site and of its witnesses contradict each other."""

    exit_code = 29


class ReleaseError(SiteError):
    """A released model cannot be used: its folder is incomplete, altered, or of another program."""

    exit_code = 33


class SiteHealthError(SiteError):
    """A check of the site is red; its line names the next step."""

    exit_code = 34


class RefutedError(SiteError):
    """An audit refutes the epsilon that a study claims. Train nothing with this program until it is explained."""

    exit_code = 35


class CoordinatorError(Error):
    """The coordinator's operator must act."""

    exit_code = 40


class FederationError(CoordinatorError):
    """The federation's folder, or an enrolment file, cannot be used."""

    exit_code = 41


class SuperLinkError(CoordinatorError):
    """The Flower SuperLink does not start or answer."""

    exit_code = 42


class StoppedError(CoordinatorError):
    """A study cannot continue."""

    exit_code = 43


class RefusedCallError(CoordinatorError):
    """A call of the control plane that its caller may not make, or whose order is not valid."""

    exit_code = 44


class CoordinatorHealthError(CoordinatorError):
    """A check of the coordinator is red; its line names the next step."""

    exit_code = 45


class ProtocolError(Error):
    """Another party sent something that is refused."""

    exit_code = 60


class WireError(ProtocolError):
    """A message that is malformed, unsigned, replayed or too large."""

    exit_code = 61


class SealingError(ProtocolError):
    """A ciphertext, mask or aggregate that must not be used."""

    exit_code = 62
