"""What a request says becomes part of a refusal: its length and its letters end nobody's agent.

A ledger that cannot be written ends a site, rightly. So no limit of an entry may be reached by what another party says.
"""

from typing import Any

import pytest

from benchmarks.small_study import small_terms
from privacy.protocol.messages import Joined, Problem, Release, Reply
from privacy.sentence import MAX_SENTENCE
from privacy.study.launch import SignedLaunch
from tests.privacy.launch_makers import order_again
from tests.protocol.conftest import Found
from tests.protocol.mallory import Mallory, require_refused
from tests.simulator import Simulator


def launched(simulator: Simulator, options: dict[str, Any]) -> SignedLaunch:
    """A launch, signed by the coordinator, of a model with odd options."""
    old = simulator.journal.read_launch().statement
    terms = small_terms(model={"name": "logistic", "options": options})
    launch = order_again({**dict(old), "terms": terms, "parameters": 6, "nonce": "0" * 32})
    return SignedLaunch.sign(simulator.federation.load_identity(), launch)


def asked_to_join(simulator: Simulator, launch: SignedLaunch) -> Reply:
    simulator.study = launch.statement.study
    return Mallory(simulator).join("ash", launch=launch)


@pytest.mark.parametrize(
    "options",
    [
        {"x" * 3000: 1},
        {"x" * 100_000: 1},
        {f"option{number:04d}" * 3: 1 for number in range(200)},
        {"\x1b[2J\x07\x00": 1},
    ],
    ids=["long", "very long", "many", "control characters"],
)
def test_refusal_of_any_length_is_written_down_and_sent(found: Found, options: dict[str, Any]) -> None:
    """A launch whose refusal quotes more than an entry or a reply takes: the site refuses and continues."""
    simulator = found(small_terms())
    study = simulator.study
    reply = asked_to_join(simulator, launched(simulator, options))
    require_refused(reply, "policy", "")
    (entry,) = simulator.entries("ash", "refuse")
    assert isinstance(reply, Problem)
    assert getattr(entry.body, "sentence", "") == reply.sentence
    assert len(reply.sentence) <= MAX_SENTENCE
    assert "\x1b" not in reply.sentence
    simulator.study = study
    assert isinstance(Mallory(simulator).join("ash"), Joined)


def test_round_that_no_ledger_can_name_is_refused(mallory: Mallory) -> None:
    """A committed round far beyond the study's last, whose failure could not be written down."""
    committed, aggregate = mallory.honest_round()
    far = committed.model_copy(update={"round": 1 << 40})
    require_refused(mallory.open("ash", far, aggregate), "refused", "none of this study, whose last is 5")
    assert mallory.simulator.entries("ash", "incident") == []
    reply, _ = mallory.simulator.exchange("ash", Release(round=1 << 40, attempt=1, headers={}))
    require_refused(reply, "epoch-lost", "no mask for attempt 1")
