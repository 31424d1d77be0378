"""List why a site refuses: one code for each rule, for programs. The sentence beside it is for people.

* A code leaves the site in a ``problem`` message (``docs/wire.md`` lists what the coordinator does for each), or is
  the reason why a command at the site ends.
* A code never gets another meaning, and is never reused.
"""

from enum import StrEnum


class RefusalCode(StrEnum):
    """The rule that refuses."""

    # the study is not admitted: client/admission/rules.py
    FEDERATION = "federation"
    ROSTER = "roster"
    ORDER = "order"
    PROGRAM = "program"
    POLICY = "policy"
    APPROVAL = "approval"
    WEIGHTS = "weights"
    DATA = "data"
    DELTA = "delta"
    BUDGET = "budget"
    NOISE = "noise"
    # a request of an admitted study has no effect: client/study/
    STALE = "stale"
    BEHIND = "behind"
    GIVEN_UP = "given-up"
    EPOCH_LOST = "epoch-lost"
    KEYS_REFUSED = "keys-refused"
    REFUSED = "refused"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"
    LOST = "lost"
    RELEASED = "released"
    ENOUGH = "enough"
    RELEASE_REFUSED = "release-refused"
    OPENING_FAILED = "opening-failed"
    TOO_FEW = "too-few"
    DIFFERENT_MODELS = "different-models"
    # a command at the site is refused; these codes never leave the site
    SAME_DATA = "same-data"
    PATIENT_COLUMN = "patient-column"
    SAME_PATIENTS = "same-patients"
    ALIKE_PATIENTS = "alike-patients"
    WARNINGS = "warnings"
    NO_AGENT = "no-agent"
