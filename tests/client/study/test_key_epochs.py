"""Key epochs: who gets the study's key, who does not, and what a lead or a coordinator may not slip in."""

import itertools
import os
from typing import Any

import pytest
from pydantic import ValidationError

from client.study.key_epochs import PAIR_LABEL, WRAP_LABEL, EpochLostError, Epochs
from privacy.base64url import decode_wrapped_key, encode_wrapped_key
from privacy.canonical import to_canonical
from privacy.errors import ProtocolError, RefusedError, WireError
from privacy.keys import SessionKey, wrap
from privacy.protocol.key_messages import (
    MAX_EARLIER,
    MAX_HELD,
    KeyGrant,
    KeyOffer,
    KeyParcel,
    Wrap,
    compute_offers_digest,
)
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.schemes.bfv_parameters import KEY_BYTES
from privacy.signed import Signed
from privacy.study.launch import Launch
from tests.privacy.launch_makers import SITE_KEYS, golden_terms, key_number, launch_of

LAUNCH = launch_of(golden_terms())
LEAD, MEMBERS = "ash", ("birch", "cedar")


def member(name: str, launch: Launch = LAUNCH) -> Epochs:
    return Epochs(launch, name, SITE_KEYS[name])


def holds(site: Epochs) -> tuple[int, ...]:
    """The epochs whose study keys the site says that it holds."""
    return site.make_offer(99, base=0, patients=60).statement.holds


@pytest.fixture
def sites() -> dict[str, Epochs]:
    return {name: member(name) for name in SITE_KEYS}


def offered(sites: dict[str, Epochs], epoch: int = 1) -> dict[str, Signed[KeyOffer]]:
    return {name: site.make_offer(epoch, base=0, patients=60) for name, site in sites.items()}


def granted(sites: dict[str, Epochs], epoch: int = 1, earlier: tuple[int, ...] = ()) -> KeyParcel:
    offers = offered(sites, epoch)
    return KeyParcel(
        offers=offers,
        grant=sites[LEAD].wrap_for_members(Wrap(epoch=epoch, offers=offers, earlier=earlier)),
    )


def keyed(sites: dict[str, Epochs], epoch: int = 1, earlier: tuple[int, ...] = ()) -> KeyParcel:
    parcel = granted(sites, epoch, earlier)
    for name in MEMBERS:
        sites[name].accept_keys(parcel)
    return parcel


def regranted(parcel: KeyParcel, by: str = LEAD, **changes: Any) -> KeyParcel:
    """The parcel with other fields in its grant, signed by ``by``: what a dishonest lead could send."""
    grant = KeyGrant.model_validate({**parcel.grant.statement.model_dump(), **changes})
    return KeyParcel(offers=parcel.offers, grant=Signed[KeyGrant].sign(SITE_KEYS[by], grant))


# Honest epochs ---------------------------------------------------------------------------------------------


def test_members_hold_the_leads_study_key(sites: dict[str, Epochs]) -> None:
    parcel = keyed(sites)
    keys = [site.find_study_key(1).to_bytes() for site in sites.values()]
    assert keys[0] == keys[1] == keys[2]
    assert sites[LEAD].find_study_key(1).commitment == parcel.grant.statement.commitment
    assert [holds(site) for site in sites.values()] == [(1,)] * 3


def test_every_pair_shares_a_secret_of_its_own(sites: dict[str, Epochs]) -> None:
    keyed(sites)
    secrets = {(a, b): sites[a].find_pair_secrets(1)[b] for a, b in itertools.permutations(SITE_KEYS, 2)}
    assert all(secrets[a, b] == secrets[b, a] for a, b in secrets)
    assert len(set(secrets.values())) == 3
    assert all(len(secret) == 32 for secret in secrets.values())


def test_epochs_have_keys_of_their_own(sites: dict[str, Epochs]) -> None:
    birch = sites["birch"]
    keyed(sites, 1)
    first = birch.find_pair_secrets(1)
    keyed(sites, 2)
    assert birch.find_study_key(1).to_bytes() != birch.find_study_key(2).to_bytes()
    assert birch.find_pair_secrets(2) != first


def test_member_of_a_newer_epoch_has_no_masks_for_an_older_one(sites: dict[str, Epochs]) -> None:
    """It can still open what was sealed under the older one."""
    keyed(sites, 1)
    keyed(sites, 2)
    with pytest.raises(EpochLostError, match="moved to key epoch 2 and seals nothing under epoch 1"):
        sites["birch"].find_pair_secrets(1)
    sites["birch"].end_epoch(2)
    with pytest.raises(EpochLostError, match="moved to key epoch 2"):
        sites["birch"].find_pair_secrets(1)
    assert sites["birch"].find_study_key(1).commitment == sites["cedar"].find_study_key(1).commitment


def test_offer_asked_again_has_the_same_key(sites: dict[str, Epochs]) -> None:
    first, again = (sites["birch"].make_offer(1, base, 60).statement for base in (0, 3))
    assert first.session_key == again.session_key
    assert again.base == 3


def test_grant_asked_again_wraps_the_same_study_key(sites: dict[str, Epochs]) -> None:
    first = granted(sites)
    sites["birch"].accept_keys(first)
    again = granted(sites)
    sites["cedar"].accept_keys(again)
    assert first.grant.statement.commitment == again.grant.statement.commitment
    assert sites["birch"].find_study_key(1).to_bytes() == sites["cedar"].find_study_key(1).to_bytes()


def test_parcel_taken_again_changes_nothing(sites: dict[str, Epochs]) -> None:
    parcel = keyed(sites)
    before = sites["birch"].find_study_key(1)
    sites["birch"].accept_keys(parcel)
    assert sites["birch"].find_study_key(1) is before


def test_restarted_member_gets_the_earlier_key_in_the_next_epoch(sites: dict[str, Epochs]) -> None:
    keyed(sites, 1)
    old = sites["birch"].find_study_key(1).to_bytes()
    sites["birch"] = member("birch")
    parcel = keyed(sites, 2, earlier=(1,))
    assert holds(sites["birch"]) == (2,)  # the other is only what the lead says
    sites["birch"].confirm_study_key(1, parcel.grant.statement.commitment)
    assert holds(sites["birch"]) == (2,)
    sites["birch"].confirm_study_key(1, sites[LEAD].find_study_key(1).commitment)
    assert sites["birch"].find_study_key(1).to_bytes() == old
    assert holds(sites["birch"]) == (1, 2)
    with pytest.raises(EpochLostError, match="moved to key epoch 2"):
        sites["birch"].find_pair_secrets(1)


def test_ended_epoch_is_over_for_good(sites: dict[str, Epochs]) -> None:
    parcel = keyed(sites)
    birch = sites["birch"]
    birch.end_epoch(1)
    assert holds(birch) == ()
    with pytest.raises(RefusedError, match="key epoch 1 has ended here") as caught:
        birch.find_study_key(1)
    assert caught.value.code == "opening-failed"
    with pytest.raises(EpochLostError):
        birch.find_pair_secrets(1)
    with pytest.raises((EpochLostError, RefusedError)):
        birch.accept_keys(parcel)
    keyed(sites, 2, earlier=(1,))
    assert holds(birch) == (2,)


# What the coordinator sees ---------------------------------------------------------------------------------


def test_parcel_does_not_contain_the_study_key(sites: dict[str, Epochs]) -> None:
    parcel = granted(sites).to_bytes()
    key = sites[LEAD].find_study_key(1).to_bytes()
    assert encode_wrapped_key(key)[100:140].encode() not in parcel
    assert key[100:140] not in parcel


def test_coordinator_that_swaps_a_session_key_is_refused(sites: dict[str, Epochs]) -> None:
    """A man in the middle: birch's offer with the coordinator's own session key, signed by the coordinator's puppet."""
    offers = offered(sites)
    swapped = offers["birch"].statement.model_copy(update={"session_key": SessionKey().public})
    for forged in (
        Signed[KeyOffer].sign(key_number(9), swapped),
        Signed[KeyOffer](statement=swapped, signature=offers["birch"].signature),
    ):
        with pytest.raises(WireError, match="a signature is not by the key"):
            sites[LEAD].wrap_for_members(Wrap(epoch=1, offers={**offers, "birch": forged}))


def test_site_that_is_not_on_the_roster_gets_no_key(sites: dict[str, Epochs]) -> None:
    puppet = offered(sites)["birch"].statement.model_copy(update={"site": "puppet"})
    offers = {**offered(sites), "puppet": Signed[KeyOffer].sign(key_number(9), puppet)}
    with pytest.raises(WireError, match="'puppet' is not on the study's roster"):
        sites[LEAD].wrap_for_members(Wrap(epoch=1, offers=offers))


@pytest.mark.parametrize(
    "change", [{"epoch": 2}, {"study": "golden-00000000"}, {"launch": "0" * 64}, {"site": "cedar"}]
)
def test_offer_from_elsewhere_is_refused(sites: dict[str, Epochs], change: dict[str, Any]) -> None:
    """Signed by birch, but for another epoch, study or launch, or under another name."""
    offers = offered(sites)
    moved = KeyOffer.model_validate({**offers["birch"].statement.model_dump(), **change})
    offers["birch"] = Signed[KeyOffer].sign(SITE_KEYS["birch"], moved)
    with pytest.raises(WireError, match="the key offer of 'birch' is for another study or epoch"):
        sites[LEAD].wrap_for_members(Wrap(epoch=1, offers=offers))


def test_offer_of_another_launch_of_the_same_terms_is_refused(sites: dict[str, Epochs]) -> None:
    other = LAUNCH.model_copy(update={"nonce": "f" * 32})
    offers = {**offered(sites), "birch": member("birch", other).make_offer(1, 0, 60)}
    with pytest.raises(WireError, match="the key offer of 'birch' is for another study or epoch"):
        sites[LEAD].wrap_for_members(Wrap(epoch=1, offers=offers))


def test_old_offer_of_a_restarted_site_is_refused(sites: dict[str, Epochs]) -> None:
    """Replayed to the site itself: its present session key is another."""
    offers = offered(sites)
    sites[LEAD] = member(LEAD)
    sites[LEAD].make_offer(1, 0, 60)
    with pytest.raises(EpochLostError, match="do not contain this site's present session key"):
        sites[LEAD].wrap_for_members(Wrap(epoch=1, offers=offers))


def test_member_left_out_of_the_offers_refuses_the_grant(sites: dict[str, Epochs]) -> None:
    offers = offered(sites)
    fewer = {name: offers[name] for name in ("ash", "cedar")}
    grant = sites[LEAD].wrap_for_members(Wrap(epoch=1, offers=fewer))
    with pytest.raises(EpochLostError, match="do not contain this site's present session key"):
        sites["birch"].accept_keys(KeyParcel(offers=fewer, grant=grant))


def test_grant_with_other_offers_than_it_was_made_for_is_refused(sites: dict[str, Epochs]) -> None:
    """Different rosters shown to different sites."""
    offers = offered(sites)
    fewer = {name: offers[name] for name in ("ash", "birch")}
    grant = sites[LEAD].wrap_for_members(Wrap(epoch=1, offers=fewer))
    with pytest.raises(WireError, match="a key grant is for another study or for other offers"):
        sites["birch"].accept_keys(KeyParcel(offers=offers, grant=grant))


# What a dishonest lead sends -------------------------------------------------------------------------------


def test_grant_by_another_than_its_lead_is_refused(sites: dict[str, Epochs]) -> None:
    parcel = granted(sites)
    forged = Signed[KeyGrant].sign(SITE_KEYS["cedar"], parcel.grant.statement)
    with pytest.raises(WireError, match="a signature is not by the key"):
        sites["birch"].accept_keys(KeyParcel(offers=parcel.offers, grant=forged))


def test_grant_by_a_stranger_is_refused(sites: dict[str, Epochs]) -> None:
    parcel = granted(sites)
    statement = parcel.grant.statement.model_copy(update={"lead": "puppet"})
    with pytest.raises(WireError, match="'puppet' is not on the study's roster"):
        sites["birch"].accept_keys(
            KeyParcel(offers=parcel.offers, grant=Signed[KeyGrant].sign(key_number(9), statement))
        )


@pytest.mark.parametrize("change", [{"study": "golden-00000000"}, {"launch": "0" * 64}, {"offers": "0" * 64}])
def test_grant_for_something_else_is_refused(sites: dict[str, Epochs], change: dict[str, Any]) -> None:
    with pytest.raises(WireError, match="a key grant is for another study or for other offers"):
        sites["birch"].accept_keys(regranted(granted(sites), **change))


def test_grant_without_this_site_is_refused(sites: dict[str, Epochs]) -> None:
    parcel = granted(sites)
    wrapped = {"cedar": parcel.grant.statement.wrapped["cedar"]}
    with pytest.raises(WireError, match="a key grant does not include this site or its lead"):
        sites["birch"].accept_keys(regranted(parcel, wrapped=wrapped))


def test_grant_that_commits_to_another_key_is_refused(sites: dict[str, Epochs]) -> None:
    with pytest.raises(WireError, match="a key grant commits to another study key than the one it wraps"):
        sites["birch"].accept_keys(regranted(granted(sites), commitment="0" * 64))
    assert holds(sites["birch"]) == ()


def test_key_wrapped_for_another_member_does_not_open(sites: dict[str, Epochs]) -> None:
    parcel = granted(sites)
    wrapped = parcel.grant.statement.wrapped
    with pytest.raises(WireError, match="a wrapped key does not open"):
        sites["birch"].accept_keys(
            regranted(parcel, wrapped={"birch": wrapped["cedar"], "cedar": wrapped["birch"]})
        )


def test_wrapped_key_or_keyring_with_a_bit_changed_does_not_open(sites: dict[str, Epochs]) -> None:
    parcel = granted(sites)
    statement = parcel.grant.statement

    def changed(text: str) -> str:
        data = bytearray(decode_wrapped_key(text))
        data[20] ^= 1
        return encode_wrapped_key(bytes(data))

    with pytest.raises(WireError, match="a wrapped key does not open"):
        sites["birch"].accept_keys(regranted(parcel, wrapped={"birch": changed(statement.wrapped["birch"])}))
    with pytest.raises(WireError, match="a wrapped key does not open"):
        sites["birch"].accept_keys(regranted(parcel, keyring=changed(statement.keyring)))


@pytest.mark.parametrize(
    "keyring", [[], {}, {"keys": {}}, {"keys": {"x": "AAAA"}}, {"keys": {"1": "AAAA"}}, {"keys": {"1": 7}}, "key"]
)
def test_keyring_that_holds_no_study_key_is_refused(keyring: Any) -> None:
    """The lead wraps what it likes; whatever it is, the member refuses it as a message and continues."""
    birch, session = member("birch"), SessionKey()
    offers = {"birch": birch.make_offer(1, 0, 60)}
    lead = KeyOffer(
        study=LAUNCH.study, launch=LAUNCH.digest, site=LEAD, epoch=1, session_key=session.public, base=0, holds=(),
        patients=60,
    )  # fmt: skip
    offers[LEAD] = Signed[KeyOffer].sign(SITE_KEYS[LEAD], lead)
    offered_digest, key = compute_offers_digest(offers), os.urandom(32)
    context = to_canonical({"study": LAUNCH.study, "launch": LAUNCH.digest, "epoch": 1, "offers": offered_digest})
    agreed = session.agree(offers["birch"].statement.session_key, WRAP_LABEL + context)
    grant = KeyGrant(
        study=LAUNCH.study,
        launch=LAUNCH.digest,
        lead=LEAD,
        epoch=1,
        offers=offered_digest,
        commitment="0" * 64,
        wrapped={"birch": encode_wrapped_key(wrap(agreed, key, context))},
        keyring=encode_wrapped_key(wrap(key, to_canonical(keyring), context)),
    )
    with pytest.raises(ProtocolError):
        birch.accept_keys(KeyParcel(offers=offers, grant=Signed[KeyGrant].sign(SITE_KEYS[LEAD], grant)))
    assert holds(birch) == ()


def planted(sites: dict[str, Epochs], epoch: int, keys: dict[int, StudyKey]) -> KeyParcel:
    """What a lead may put into its keyring: study keys of its choice, one of them the epoch's."""
    session, offers = (
        SessionKey(),
        {name: site.make_offer(epoch, 0, 60) for name, site in sites.items() if name != LEAD},
    )
    lead = KeyOffer(
        study=LAUNCH.study, launch=LAUNCH.digest, site=LEAD, epoch=epoch, session_key=session.public, base=0,
        holds=(), patients=60,
    )  # fmt: skip
    offers[LEAD] = Signed[KeyOffer].sign(SITE_KEYS[LEAD], lead)
    said, ring_key = compute_offers_digest(offers), os.urandom(32)
    context = to_canonical({"study": LAUNCH.study, "launch": LAUNCH.digest, "epoch": epoch, "offers": said})
    ring = to_canonical({"keys": {str(number): encode_wrapped_key(key.to_bytes()) for number, key in keys.items()}})
    grant = KeyGrant(
        study=LAUNCH.study,
        launch=LAUNCH.digest,
        lead=LEAD,
        epoch=epoch,
        offers=said,
        commitment=keys[epoch].commitment,
        wrapped={
            name: encode_wrapped_key(
                wrap(session.agree(offer.statement.session_key, WRAP_LABEL + context), ring_key, context)
            )
            for name, offer in offers.items()
            if name != LEAD
        },
        keyring=encode_wrapped_key(wrap(ring_key, ring, context)),
    )
    return KeyParcel(offers=offers, grant=Signed[KeyGrant].sign(SITE_KEYS[LEAD], grant))


def test_key_of_a_later_epoch_is_refused_with_its_grant(sites: dict[str, Epochs]) -> None:
    parcel = planted(sites, 1, {1: StudyKey.generate(), 2: StudyKey.generate()})
    with pytest.raises(WireError, match="a key grant of epoch 1 holds a key of epoch 2, which is not its to give"):
        sites["birch"].accept_keys(parcel)
    assert holds(sites["birch"]) == ()


def test_key_of_an_earlier_epoch_is_not_believed_before_a_round_commits_to_it(sites: dict[str, Epochs]) -> None:
    """Neither held, nor wrapped for others, nor used to open, whoever sends how many."""
    evil, right = StudyKey.generate(), StudyKey.generate()
    birch = sites["birch"]
    birch.accept_keys(planted(sites, 2, {1: evil, 2: StudyKey.generate()}))
    birch.accept_keys(planted(sites, 3, {1: right, 3: StudyKey.generate()}))
    with pytest.raises(EpochLostError, match="does not hold the study key of epoch 1"):
        birch.find_study_key(1)
    birch.confirm_study_key(1, right.commitment)
    assert birch.find_study_key(1).commitment == right.commitment
    birch.confirm_study_key(1, evil.commitment)
    assert birch.find_study_key(1).commitment == right.commitment


def test_key_that_is_held_is_not_exchanged_for_one_that_a_lead_sends(sites: dict[str, Epochs]) -> None:
    keyed(sites, 1)
    birch, evil = sites["birch"], StudyKey.generate()
    own = birch.find_study_key(1).commitment
    birch.accept_keys(planted(sites, 2, {1: evil, 2: StudyKey.generate()}))
    birch.confirm_study_key(1, evil.commitment)
    assert birch.find_study_key(1).commitment == own


def test_lead_draws_the_key_of_its_epoch_or_refuses(sites: dict[str, Epochs]) -> None:
    """It never wraps what another lead has given it as this epoch's key."""
    keyed(sites, 1)
    offers = offered(sites, 1)
    with pytest.raises(WireError, match="another site has drawn the key of epoch 1"):
        sites["birch"].wrap_for_members(Wrap(epoch=1, offers=offers))


def test_keyring_of_the_most_earlier_epochs_fits_its_grant(sites: dict[str, Epochs]) -> None:
    for epoch in range(1, MAX_EARLIER + 1):
        keyed(sites, epoch)
    parcel = keyed(sites, MAX_EARLIER + 1, earlier=tuple(range(1, MAX_EARLIER + 1)))
    assert len(decode_wrapped_key(parcel.grant.statement.keyring)) > MAX_EARLIER * KEY_BYTES
    with pytest.raises(ValidationError):
        Wrap(epoch=99, offers={}, earlier=tuple(range(MAX_EARLIER + 1)))


def test_site_that_holds_more_keys_than_an_offer_names_names_the_newest(sites: dict[str, Epochs]) -> None:
    birch = sites["birch"]
    for epoch in range(1, MAX_HELD + 3):
        birch._studies[epoch] = birch._studies.get(1) or StudyKey.generate()
    assert holds(birch) == tuple(range(3, MAX_HELD + 3))


def test_lead_that_lost_an_earlier_key_says_so(sites: dict[str, Epochs]) -> None:
    with pytest.raises(EpochLostError, match="no longer holds an earlier epoch's key that it is asked to wrap"):
        granted(sites, 2, earlier=(1,))


def test_site_that_made_no_offer_says_so(sites: dict[str, Epochs]) -> None:
    parcel = granted(sites)
    restarted = member("birch")
    for ask in (
        lambda: restarted.accept_keys(parcel),
        lambda: restarted.wrap_for_members(Wrap(epoch=1, offers=parcel.offers)),
    ):
        with pytest.raises(EpochLostError, match="no session key for epoch 1: it was restarted since"):
            ask()


def test_labels_set_purposes_apart() -> None:
    assert len({PAIR_LABEL, WRAP_LABEL}) == 2
