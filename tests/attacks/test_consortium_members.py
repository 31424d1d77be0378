"""Studies whose sites believe each other by a consortium's list, and what a coordinator makes of it."""

from typing import Any

import pytest

from benchmarks.small_study import small_terms
from client.site.folder import SiteFolder
from client.site.peers import Peers
from privacy.consortium import Member, MemberList, Revocation, SignedList, SignedRevocation
from privacy.keys import SigningKey
from privacy.protocol.messages import Join, Joined, Problem, Reply
from privacy.study.launch import Launch, SignedLaunch
from privacy.study.launch import Member as Invited
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished
from tests.protocol.mallory import Mallory, require_refused
from tests.simulator import Simulator

HOLDER = SigningKey.generate()
DAYS = {"valid_from": "2026-01-01", "valid_until": "9999-12-31"}


def member(home: SiteFolder, **days: str) -> Member:
    return Member(name=home.config.name, identity=home.load_identity().public.text, **{**DAYS, **days})


def sign(*members: Member, number: int = 1, **changes: str) -> SignedList:
    fields = {"consortium": "trees", "issued": "2026-01-01", "valid_until": "9999-12-31", **changes}
    statement = MemberList.model_validate({**fields, "number": number, "members": members, "revoked": ()})
    return SignedList.sign(HOLDER, statement)


def trust(home: SiteFolder, signed: SignedList) -> None:
    """People of a site trust the consortium instead of pinning peers; they took the list in when it was new."""
    home.change_peers(lambda _: Peers())
    home.trust_consortium("trees", HOLDER.public)
    home.change_peers(lambda peers: peers.take_list(signed, signed.statement.issued))


@pytest.fixture
def simulator(found: Found) -> Simulator:
    return found(small_terms(training={"rounds": 1}, evaluation={"rounds": []}), launch=False)


def join(simulator: Simulator, launch: SignedLaunch | None = None) -> Reply:
    if launch is None:
        simulator.launch()
    mallory = Mallory(simulator)
    simulator.study = (launch or mallory.launch).statement.study
    return simulator.exchange("ash", Join(launch=launch or mallory.launch, epoch=1))[0]


def test_study_of_members_is_run_and_a_puppet_is_refused(simulator: Simulator) -> None:
    """The coordinator has enrolled a puppet; no list names it."""
    signed = sign(*(member(home) for home in simulator.homes.values()))
    for home in simulator.homes.values():
        trust(home, signed)
    simulator.launch()
    simulator.run()
    require_finished(simulator)
    launch = simulator.journal.read_launch().statement
    puppet = Invited(name="puppet", identity=SigningKey.generate().public.text)
    roster = sorted([*launch.roster, puppet], key=lambda each: each.name)
    changed = Launch.model_validate(
        {**launch.model_dump(), "roster": [each.model_dump() for each in roster], "nonce": "7" * len(launch.nonce)}
    )
    reply = join(simulator, SignedLaunch.sign(simulator.federation.load_identity(), changed))
    require_refused(reply, "roster", "'puppet' is not a pinned peer")


def test_coordinators_key_in_a_members_place_is_refused(simulator: Simulator) -> None:
    trust(simulator.homes["ash"], sign(*(member(home) for home in simulator.homes.values())))
    simulator.launch()
    launch = simulator.journal.read_launch().statement
    fake = SigningKey.generate().public.text
    roster = [
        each.model_copy(update={"identity": fake}).model_dump() if each.name == "elm" else each.model_dump()
        for each in launch.roster
    ]
    changed = Launch.model_validate({**launch.model_dump(), "roster": roster})
    reply = join(simulator, SignedLaunch.sign(simulator.federation.load_identity(), changed))
    require_refused(reply, "roster", "the roster gives 'elm' another key")


@pytest.mark.parametrize("case", ["member", "list", "future", "revoked", "gone"])
def test_member_whose_days_are_over_or_whose_key_is_revoked_is_refused(simulator: Simulator, case: str) -> None:
    """At the launch after that day, or after the revocation was handed over; nothing is trained."""
    home, elm = simulator.homes["ash"], simulator.homes["elm"]
    others = [member(simulator.homes[name]) for name in ("birch", "cedar")]
    words = {
        "member": "'elm' is not believed: by list 1 of 'trees' it was a member until 2026-01-31",
        "list": "list 1 of the consortium 'trees' ended on 2026-01-31",
        "future": "it is a member from 9999-01-01",
        "revoked": "the consortium 'trees' has revoked the key of 'elm' on 2026-02-01: its laptop was stolen",
        "gone": "'elm' is not a pinned peer",
    }
    days = {"member": {"valid_until": "2026-01-31"}, "future": {"valid_from": "9999-01-01"}}.get(case, {})
    ending: dict[str, Any] = {"valid_until": "2026-01-31"} if case == "list" else {}
    trust(home, sign(*others, member(elm, **days), **ending))
    if case == "revoked":
        revocation = Revocation(
            consortium="trees", name="elm", identity=elm.load_identity().public.text, day="2026-02-01",
            reason="its laptop was stolen",
        )  # fmt: skip
        home.change_peers(lambda peers: peers.take_revocation(SignedRevocation.sign(HOLDER, revocation)))
    if case == "gone":
        home.change_peers(lambda peers: peers.take_list(sign(*others, number=2), "2026-01-01"))
    reply = join(simulator)
    assert isinstance(reply, Problem)
    assert reply.code == "roster"
    assert words[case] in reply.sentence
    assert not simulator.entries("ash", "allow")


def test_revocation_after_admission_does_not_end_the_study(simulator: Simulator) -> None:
    """A list counts at admission, as a pin does: people are told which studies to leave."""
    home = simulator.homes["ash"]
    trust(home, sign(*(member(each) for each in simulator.homes.values())))
    assert isinstance(join(simulator), Joined)
    elm = simulator.homes["elm"].load_identity().public.text
    revocation = Revocation(consortium="trees", name="elm", identity=elm, day="2026-02-01", reason="stolen")
    home.change_peers(lambda peers: peers.take_revocation(SignedRevocation.sign(HOLDER, revocation)))
    assert isinstance(join_again(simulator), Joined)


def join_again(simulator: Simulator) -> Reply:
    return simulator.exchange("ash", Join(launch=simulator.journal.read_launch(), epoch=2))[0]
