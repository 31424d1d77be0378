"""What a malicious coordinator, or one site, does with the room that a round's sum has for patients.

It sets the grid on which shares of noise are drawn. A lie about it makes the liar's own study useless; the noise over
what one patient can change never falls.
"""

import pytest

from benchmarks.small_study import small_terms
from privacy.protocol.envelope import Envelope, read_body
from privacy.protocol.key_messages import KeyOffer
from privacy.protocol.messages import Joined, Problem, Sealed
from privacy.secure_aggregation.round_layout import make_shared_noise
from privacy.signed import Signed
from privacy.study.cost import compute_study_noise
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.mallory import Mallory, in_charge
from tests.protocol.test_distributed_noise import ROOM, distributed_terms
from tests.simulator import FOUR


@pytest.fixture
def mallory(found: Found) -> Mallory:
    """In charge of a study with distributed noise whose first key epoch is honestly made."""
    return in_charge(found(distributed_terms()))


def refused(reply: object, code: str, sentence: str) -> None:
    assert isinstance(reply, Problem), reply
    assert reply.code == code
    assert sentence in reply.sentence


@pytest.mark.parametrize("room", [0, 1, ROOM - 1])
def test_room_below_what_the_members_have_signed_is_refused_unpaid(mallory: Mallory, room: int) -> None:
    for name in FOUR:
        refused(
            mallory.train(name, room=room), "noise", f"has room for {room} patients, its cohort may have {ROOM}"
        )
        assert mallory.simulator.entries(name, "reserve") == []


def test_smaller_cohort_needs_a_smaller_room_only(mallory: Mallory) -> None:
    reply = mallory.train("ash", cohort=FOUR[:3], room=70 + 80 + 90)
    assert isinstance(reply, Sealed)


def test_huge_room_is_more_noise_until_a_site_refuses_it_as_useless(mallory: Mallory) -> None:
    """The honest sites' noise against C and the rounding, which is what one patient can change at most."""
    terms = mallory.simulator.terms
    sigma = compute_study_noise(terms)
    for room in (ROOM, 10 * ROOM, 1000 * ROOM):
        noise = make_shared_noise(terms, 6, sigma, room=room)
        deviation = (3 * noise.compute_share_variance(4)) ** 0.5 * noise.unit
        assert deviation >= sigma * (noise.clipping_norm + 6**0.5 * noise.unit) * (1 - 1e-12)
    refused(mallory.train("ash", room=10**7), "noise", "use more secure_aggregation.bits")
    assert mallory.simulator.entries("ash", "reserve") == []


def test_sites_told_different_rooms_release_nothing(mallory: Mallory) -> None:
    for name, room in zip(FOUR, (ROOM, ROOM, ROOM, ROOM + 10), strict=True):
        assert isinstance(mallory.train(name, room=room), Sealed)
    for name in FOUR:
        refused(mallory.release(name), "release-refused", "sealed from another view of the round")


def test_another_room_in_a_second_attempt_is_refused(mallory: Mallory) -> None:
    """The integers are kept and topped up: on another grid they would be another patient's worth of noise."""
    assert isinstance(mallory.train("ash", room=ROOM), Sealed)
    reply = mallory.train("ash", attempt=2, cohort=FOUR[:3], room=ROOM + 10)
    refused(reply, "refused", "the room of round 1 was another in its first attempt")
    assert isinstance(mallory.train("ash", attempt=2, cohort=FOUR[:3], room=ROOM), Sealed)
    assert mallory.simulator.trained["ash", 1] == 1


def test_room_in_a_study_that_needs_none_is_refused(found: Found) -> None:
    local = in_charge(found(small_terms()))
    refused(local.train("ash", room=10), "refused", "need no room for patients")


def test_site_that_claims_millions_of_patients_stops_its_own_study_unpaid(found: Found) -> None:
    """Elm signs key offers with a count that it has not registered: the grid for so many would drown the sum."""
    simulator = found(distributed_terms(), launch=False)

    def lie(name: str, envelope: Envelope) -> Envelope:
        content = read_body(envelope).content
        if name != "elm" or not isinstance(content, Joined):
            return envelope
        offer = content.offer.statement.model_copy(update={"patients": 10**8})
        signed = Signed[KeyOffer].sign(simulator.homes["elm"].load_identity(), offer)
        return simulator.forged("elm", envelope, content.model_copy(update={"offer": signed}))

    simulator.transport.replies = lie
    simulator.launch()
    simulator.run()
    assert simulator.conductor.machine.phase is Phase.STOPPED
    stopped = simulator.journal.read_history().stopped or ""
    assert f"for the {10**8 + 10 + ROOM - 100} patients that all sites may have: " in stopped
    assert "use more secure_aggregation.bits" in stopped
    for name in FOUR:
        assert simulator.entries(name, "reserve") == []
