"""Whom a site believes: pins, a consortium's lists and revocations, and every way in which they contradict."""

import pytest

from client.site.peers import Peers
from privacy.canonical import from_canonical
from privacy.errors import SiteConfigError
from tests.privacy.launch_makers import key_number
from tests.privacy.test_consortium import HOLDER, member, member_list, revocation

OWN = key_number(2).public
TODAY = "2026-06-01"


def trusting(*pins: tuple[str, int]) -> Peers:
    peers = Peers().trust_consortium("trees", HOLDER.public, {})
    for name, number in pins:
        peers = peers.pin(name, key_number(number).public, OWN)
    return peers


def believed(peers: Peers, today: str = TODAY) -> dict[str, int]:
    numbers = {key_number(number).public: number for number in range(2, 45)}
    return {name: numbers[key] for name, key in peers.find_believed(today).keys.items()}


def test_members_of_the_list_are_believed_beside_pins() -> None:
    peers = trusting(("oak", 6)).take_list(member_list(member("birch", 3), member("cedar", 4)), TODAY)
    assert believed(peers) == {"oak": 6, "birch": 3, "cedar": 4}
    again = Peers.model_validate(from_canonical(peers.to_bytes()))
    assert again == peers
    assert believed(peers.forget_consortium()) == {"oak": 6}


def test_member_counts_from_its_first_to_its_last_day_and_no_longer_than_the_list() -> None:
    listed = member_list(
        member("birch", 3, valid_from="2026-03-01", valid_until="2026-06-30"),
        member("cedar", 4),
        valid_until="2026-09-30",
    )
    peers = trusting().take_list(listed, TODAY)
    days = {
        "2026-02-28": {"cedar": 4}, "2026-03-01": {"birch": 3, "cedar": 4}, "2026-06-30": {"birch": 3, "cedar": 4},
        "2026-07-01": {"cedar": 4}, "2026-09-30": {"cedar": 4}, "2026-10-01": {},
    }  # fmt: skip
    assert {day: believed(peers, day) for day in days} == days
    assert "was a member until 2026-06-30" in peers.find_believed("2026-07-01").doubts["birch"]
    assert "is a member from 2026-03-01" in peers.find_believed("2026-02-28").doubts["birch"]
    assert "ended on 2026-09-30" in peers.find_believed("2026-10-01").doubts["cedar"]


def test_later_list_replaces_an_earlier_one_whole() -> None:
    peers = trusting().take_list(member_list(member("birch", 3), member("cedar", 4)), TODAY)
    peers = peers.take_list(member_list(member("birch", 7), number=2), TODAY)
    assert believed(peers) == {"birch": 7}


def test_older_list_is_a_rollback_and_the_same_list_changes_nothing() -> None:
    first, second = member_list(member("birch", 3)), member_list(number=2)
    peers = trusting().take_list(first, TODAY).take_list(second, TODAY)
    with pytest.raises(SiteConfigError, match="has the number 1, this site has number 2"):
        peers.take_list(first, TODAY)
    assert peers.take_list(second, TODAY) == peers


def test_two_lists_of_one_number_are_refused() -> None:
    peers = trusting().take_list(member_list(member("birch", 3)), TODAY)
    with pytest.raises(SiteConfigError, match="two different lists with the number 1"):
        peers.take_list(member_list(member("birch", 9)), TODAY)


def test_list_that_ended_or_comes_from_the_future_is_refused() -> None:
    with pytest.raises(SiteConfigError, match="ended on 2026-12-31"):
        trusting().take_list(member_list(), "2027-01-01")
    with pytest.raises(SiteConfigError, match="is the clock right"):
        trusting().take_list(member_list(), "2025-12-31")


def test_list_by_another_key_or_without_a_trusted_consortium_is_refused() -> None:
    with pytest.raises(SiteConfigError, match="the list cannot be believed"):
        trusting().take_list(member_list(key=key_number(41)), TODAY)
    with pytest.raises(SiteConfigError, match="no consortium is trusted here"):
        Peers().take_list(member_list(), TODAY)
    with pytest.raises(SiteConfigError, match="the revocation cannot be believed"):
        trusting().take_revocation(revocation("elm", 5, key=key_number(41)))


def test_list_that_contradicts_a_pin_is_refused_whole() -> None:
    peers = trusting(("birch", 3))
    with pytest.raises(SiteConfigError, match=r"gives 'birch' the key .* one is wrong"):
        peers.take_list(member_list(member("birch", 9), member("cedar", 4)), TODAY)
    with pytest.raises(SiteConfigError, match="gives 'cedar' the key that people here have pinned for 'birch'"):
        peers.take_list(member_list(member("cedar", 3)), TODAY)


def test_pin_made_after_the_list_counts_before_it() -> None:
    peers = trusting().take_list(member_list(member("birch", 3), member("cedar", 4)), TODAY)
    pinned = peers.pin("birch", key_number(9).public, OWN)
    assert believed(pinned) == {"birch": 9, "cedar": 4}
    assert believed(pinned.forget("birch")) == {"birch": 3, "cedar": 4}
    with pytest.raises(SiteConfigError, match="this is the key of 'cedar', not 'elm'"):
        peers.pin("elm", key_number(4).public, OWN)


def test_revoked_key_is_believed_no_more_whoever_named_it() -> None:
    peers = trusting(("oak", 6)).take_list(member_list(member("birch", 3), member("cedar", 4)), TODAY)
    peers = peers.take_revocation(revocation("birch", 3)).take_revocation(revocation("oak", 6))
    assert believed(peers) == {"cedar": 4}
    doubts = peers.find_believed(TODAY).doubts
    assert "revoked the key of 'birch' on 2026-03-01: its laptop was stolen" in doubts["birch"]
    assert "revoked the key of 'oak'" in doubts["oak"]
    with pytest.raises(SiteConfigError, match="has revoked this key"):
        peers.forget("oak").pin("oak", key_number(6).public, OWN)


def test_revocation_outlives_a_list_that_leaves_it_out_and_one_that_brings_the_key_back() -> None:
    peers = trusting().take_list(member_list(member("cedar", 4), revoked=(revocation("birch", 3),)), TODAY)
    peers = peers.take_list(member_list(member("cedar", 4), number=2), TODAY)
    with pytest.raises(SiteConfigError, match="a revoked key never comes back"):
        peers.take_list(member_list(member("birch", 3), number=3), TODAY)


@pytest.mark.parametrize("owner", ["this site", "the coordinator"])
def test_key_of_somebody_who_takes_part_is_no_consortiums(owner: str) -> None:
    with pytest.raises(SiteConfigError, match=f"is that of {owner}"):
        Peers().trust_consortium("trees", HOLDER.public, {owner: HOLDER.public})
    with pytest.raises(SiteConfigError, match="is that of the peer 'birch'"):
        Peers().pin("birch", HOLDER.public, OWN).trust_consortium("trees", HOLDER.public, {})
    with pytest.raises(SiteConfigError, match="is that of the consortium"):
        trusting(("birch", 40))


def test_one_consortium_is_trusted_at_a_time() -> None:
    peers = trusting()
    assert peers.trust_consortium("trees", HOLDER.public, {}) == peers
    with pytest.raises(SiteConfigError, match="peer forget-consortium"):
        peers.trust_consortium("woods", key_number(41).public, {})
    with pytest.raises(SiteConfigError, match="no consortium is trusted here"):
        Peers().forget_consortium()
