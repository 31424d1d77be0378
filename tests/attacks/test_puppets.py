"""What a malicious coordinator tries with the launch of a study: terms, roster, signatures."""

import pytest

from benchmarks.small_study import small_terms
from privacy.keys import SigningKey
from privacy.protocol.messages import Join, Joined, Problem, Reply
from privacy.study.launch import Member, SignedLaunch
from tests.privacy.launch_makers import order_again
from tests.protocol.conftest import Found
from tests.protocol.mallory import Mallory


@pytest.fixture
def mallory(found: Found) -> Mallory:
    """In charge of a study that nobody has joined."""
    return Mallory(found(small_terms()))


def relaunch(mallory: Mallory, key: SigningKey | None = None, **changes: object) -> tuple[SignedLaunch, Reply]:
    """The launch with other contents, which the coordinator's own operator has ordered, and what ash says to it."""
    simulator = mallory.simulator
    launch = order_again({**mallory.launch.statement.model_dump(), **changes}, simulator.federation.load_operator())
    signed = SignedLaunch.sign(key or simulator.federation.load_identity(), launch)
    simulator.study = launch.study
    return signed, simulator.exchange("ash", Join(launch=signed, epoch=1))[0]


def require_refused(mallory: Mallory, reply: Reply, code: str, sentence: str) -> None:
    """Refused, in the ledger, and nothing else happened."""
    assert isinstance(reply, Problem), reply
    assert reply.code == code
    assert sentence in reply.sentence
    last = mallory.simulator.entries("ash")[-1]
    assert (last.kind, getattr(last.body, "code", None)) == ("refuse", code)
    assert mallory.simulator.entries("ash", "allow") == []
    assert not mallory.simulator.has_begun("ash")


def with_member(mallory: Mallory, name: str, key: SigningKey) -> list[dict[str, str]]:
    others = [member for member in mallory.launch.statement.roster if member.name != name]
    roster = sorted([*others, Member(name=name, identity=key.public.text)], key=lambda member: member.name)
    return [member.model_dump() for member in roster]


def test_launch_signed_by_another_key_is_refused(mallory: Mallory) -> None:
    """Somebody who is not the pinned coordinator launches a study: the signature is checked."""
    _, reply = relaunch(mallory, SigningKey.generate())
    require_refused(mallory, reply, "federation", "not signed by the coordinator this site joined")


def test_launch_of_another_federation_is_refused(mallory: Mallory) -> None:
    """A launch for one federation is sent in another: it names its own."""
    _, reply = relaunch(mallory, federation="meadow")
    require_refused(mallory, reply, "federation", "this site joined 'wood'")


def test_puppet_on_the_roster_is_refused(mallory: Mallory) -> None:
    """The operator enrols a puppet, to make up a cohort of puppets and one victim.

    The roster counts only peers that the site's own people have pinned, and one that is not refuses the study.
    """
    _, reply = relaunch(mallory, roster=with_member(mallory, "puppet", SigningKey.generate()))
    require_refused(mallory, reply, "roster", "'puppet' is not a pinned peer")


def test_peers_key_swapped_on_the_roster_is_refused(mallory: Mallory) -> None:
    """The coordinator lists its own key under a peer's name, to sit in the middle.

    It is compared with the pinned one.
    """
    _, reply = relaunch(mallory, roster=with_member(mallory, "elm", SigningKey.generate()))
    require_refused(mallory, reply, "roster", "another key than the one this site has pinned")


def test_roster_without_the_site_is_refused(mallory: Mallory) -> None:
    """A site that is not on the roster with its own key could not tell its peers apart: it stays out."""
    roster = [member.model_dump() for member in mallory.launch.statement.roster if member.name != "ash"]
    _, reply = relaunch(mallory, roster=roster)
    require_refused(mallory, reply, "roster", "this site is not on the roster with its own key")


def test_wrong_number_of_parameters_is_refused(mallory: Mallory) -> None:
    """The launch claims another size of the model, so that a sum would spill elsewhere: each site counts for itself."""
    _, reply = relaunch(mallory, parameters=mallory.launch.statement.parameters + 1)
    require_refused(mallory, reply, "policy", "parameters here, the launch says")


def test_terms_beyond_the_sites_policy_are_refused(mallory: Mallory) -> None:
    """The coordinator asks for more epsilon than a site's people allow: the site judges by its own policy."""
    terms = small_terms(privacy={"epsilon": 3.5}).model_dump(mode="json")
    _, reply = relaunch(mallory, terms=terms)
    require_refused(mallory, reply, "policy", "asks for epsilon 3.5, this site allows 3")


def test_other_terms_under_the_same_study_are_refused(mallory: Mallory) -> None:
    """Other terms are slipped under an admitted study: its name carries the digest of its launch."""
    simulator, study = mallory.simulator, mallory.simulator.study
    assert isinstance(mallory.join("ash"), Joined)
    before = simulator.entries("ash")
    other, _ = relaunch(mallory, nonce="0" * 32)
    simulator.study = study
    reply, _ = simulator.exchange("ash", Join(launch=other, epoch=1))
    assert isinstance(reply, Problem)
    assert "a launch came in a message of another study" in reply.sentence
    assert simulator.entries("ash", "refuse") == []
    assert simulator.store("ash").launch == mallory.launch.statement
    assert [entry.kind for entry in before] == ["open", "population", "grant", "require", "allow"]


def test_second_launch_beyond_the_budget_is_refused(mallory: Mallory) -> None:
    """The grant is epsilon 6; the third study of epsilon 3 finds no room, whatever it is called."""
    replies = [relaunch(mallory, nonce=f"{number:032x}")[1] for number in range(8)]
    admitted = [reply for reply in replies if isinstance(reply, Joined)]
    refused = [reply for reply in replies if isinstance(reply, Problem)]
    assert admitted
    assert refused
    assert {reply.code for reply in refused} == {"budget"}
    assert len(mallory.simulator.entries("ash", "allow")) == len(admitted)


def test_refused_launch_asked_again_is_refused_again(mallory: Mallory) -> None:
    """The coordinator asks until somebody gives in: the answer is the same."""
    signed, _ = relaunch(mallory, federation="meadow")
    again, _ = mallory.simulator.exchange("ash", Join(launch=signed, epoch=2))
    require_refused(mallory, again, "federation", "this site joined 'wood'")
