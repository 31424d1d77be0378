"""Manage the key epochs of one study at one site: which keys the site offers, draws, wraps, accepts and ends.

In every epoch each member offers a fresh X25519 session key (RFC 7748), signed with its identity. The lead site
draws the study's BFV key and wraps it for the other members; the coordinator relays what it cannot open. A member
that was restarted cannot seal any more in that epoch. It reports this, and gets what it needs in the next one.

Rules:

* an offer or a grant counts only if it is signed by the identity that this site's roster names, for this launch and
  this epoch; the roster's members are the peers this site has pinned (see ``client/admission/rules.py``);
* a site accepts a grant only if its own offer is among those for which the lead has wrapped;
* a study key is accepted if it is the epoch's own: drawn here, or wrapped by the lead of the epoch's grant. A key
  of an earlier epoch, which a lead sends along, is kept aside until the headers of a round that was sealed under it
  commit to it. A key of a later epoch is refused with its grant. So no lead can plant a key for another epoch than
  its own;
* a lead always draws: it is not the lead of an epoch whose key it has from another site;
* once this site has a newer epoch's keys it seals under no older one; what was sealed under an older one it can
  open;
* an aggregate that does not open ends its key epoch. Each refusal reveals a bit about the key to an attacker who
  alters ciphertexts, so there is no second one: the keys are not used again, not even after a restart;
* session keys and pair secrets are never written to disk; of study keys only what ``client/study/kept_secrets.py``
  says.
"""

import os
from collections.abc import Collection, Mapping
from typing import Annotated, Final

from pydantic import Field

from privacy import labels
from privacy.base64url import decode_wrapped_key, encode_wrapped_key
from privacy.canonical import from_canonical, to_canonical
from privacy.document import Document, parse
from privacy.errors import RefusedError, WireError
from privacy.keys import SECRET_BYTES, PublicKey, SessionKey, SigningKey, unwrap, wrap
from privacy.protocol.key_messages import (
    MAX_EARLIER,
    MAX_HELD,
    KeyGrant,
    KeyOffer,
    KeyParcel,
    Wrap,
    compute_offers_digest,
)
from privacy.refusal_codes import RefusalCode
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.schemes.bfv_parameters import KEY_BYTES
from privacy.secure_aggregation.seal import forget_loaded_keys
from privacy.signed import Signed
from privacy.study.launch import Launch

PAIR_LABEL: Final = labels.make_prefix(labels.PAIR_SECRET)
WRAP_LABEL: Final = labels.make_prefix(labels.WRAPPING)


class Keyring(Document):
    """The content of a grant's keyring once it is opened: study keys, by epoch."""

    keys: dict[
        Annotated[str, Field(pattern=r"^[0-9]{1,13}$")],
        Annotated[str, Field(max_length=len(encode_wrapped_key(bytes(KEY_BYTES))))],
    ] = Field(max_length=1 + MAX_EARLIER)


class EpochLostError(WireError):
    """This site was restarted since the epoch began: its keys are lost."""


class Epochs:
    """The keys that one site holds in one study.

    Args:
        launch: the study.
        site: this site's name.
        identity: its key.
        kept: study keys that survived a restart, by epoch.
        ended: epochs whose keys are not used again.
    """

    def __init__(
        self,
        launch: Launch,
        site: str,
        identity: SigningKey,
        kept: Mapping[int, StudyKey] | None = None,
        ended: Collection[int] = (),
    ) -> None:
        self._launch = launch
        self._launch_digest = launch.digest
        self._site = site
        self._identity = identity
        self._keys_of_members = {member.name: PublicKey.from_text(member.identity) for member in launch.roster}
        self._sessions: dict[int, SessionKey] = {}
        self._studies: dict[int, StudyKey] = dict(kept or {})
        self._drawn: set[int] = set()
        self._unproven: dict[tuple[int, str], StudyKey] = {}
        """Keys of earlier epochs that leads have sent along, by epoch and commitment."""
        self._pairs: dict[int, dict[str, bytes]] = {}
        self._patients: dict[int, dict[str, int]] = {}
        self._ended: set[int] = set(ended)

    def make_offer(self, epoch: int, base: int, patients: int) -> Signed[KeyOffer]:
        """Sign an offer with a session key for ``epoch``; asked again, the same key.

        Run by a site.
        """
        session = self._sessions.setdefault(epoch, SessionKey())
        statement = KeyOffer(
            study=self._launch.study,
            launch=self._launch_digest,
            site=self._site,
            epoch=epoch,
            session_key=session.public,
            base=base,
            holds=tuple(sorted(self._studies)[-MAX_HELD:]),
            patients=patients,
        )
        return Signed[KeyOffer].sign(self._identity, statement)

    def wrap_for_members(self, request: Wrap) -> Signed[KeyGrant]:
        """Draw the epoch's study key and wrap it for the members, with earlier keys that members lack.

        Run by the lead site.

        Raises:
            EpochLostError: this site has made no offer for the epoch, or lost an earlier key.
            WireError: an offer is not valid, or another lead has wrapped the epoch's keys.
        """
        session = self._find_session(request.epoch)
        offers = self._verify_offers(request.offers, request.epoch)
        if request.epoch not in self._drawn:
            if request.epoch in self._studies:
                raise WireError(f"another site has drawn the key of epoch {request.epoch}")
            self._studies[request.epoch] = StudyKey.generate()
            self._drawn.add(request.epoch)
        if not set(request.earlier) <= set(self._studies):
            raise EpochLostError("this site no longer holds an earlier epoch's key that it is asked to wrap")
        epochs = sorted({request.epoch, *request.earlier})
        keyring = Keyring(
            keys={str(epoch): encode_wrapped_key(self._studies[epoch].to_bytes()) for epoch in epochs}
        )
        # the keyring is encrypted once, under a fresh key; only that key is wrapped for each member
        key = os.urandom(SECRET_BYTES)
        context = self._make_context(request.epoch, compute_offers_digest(request.offers))
        wrapped = {
            name: encode_wrapped_key(wrap(session.agree(offer.session_key, WRAP_LABEL + context), key, context))
            for name, offer in offers.items()
            if name != self._site
        }
        self._compute_pair_secrets(request.epoch, offers)
        statement = KeyGrant(
            study=self._launch.study,
            launch=self._launch_digest,
            lead=self._site,
            epoch=request.epoch,
            offers=compute_offers_digest(request.offers),
            commitment=self._studies[request.epoch].commitment,
            wrapped=wrapped,
            keyring=encode_wrapped_key(wrap(key, keyring.to_bytes(), context)),
        )
        return Signed[KeyGrant].sign(self._identity, statement)

    def accept_keys(self, parcel: KeyParcel) -> None:
        """Accept the epoch's keys from its lead; for an epoch that is held already, no effect.

        Run by a member.

        Raises:
            EpochLostError: this site has made no offer for the epoch since it was started.
            WireError: an offer or the grant is not valid, or what was wrapped does not open.
        """
        statement = parcel.grant.statement
        epoch = statement.epoch
        if epoch in self._pairs:
            return
        session = self._find_session(epoch)
        grant = parcel.grant.verify(self._find_member_key(statement.lead))
        offers = self._verify_offers(parcel.offers, epoch)
        if (grant.study, grant.launch, grant.offers) != (
            self._launch.study,
            self._launch_digest,
            compute_offers_digest(parcel.offers),
        ):
            raise WireError("a key grant is for another study or for other offers than those sent with it")
        if self._site not in grant.wrapped or grant.lead not in offers:
            raise WireError("a key grant does not include this site or its lead")
        context = self._make_context(epoch, grant.offers)
        agreed = session.agree(offers[grant.lead].session_key, WRAP_LABEL + context)
        key = unwrap(agreed, decode_wrapped_key(grant.wrapped[self._site]), context)
        opened = from_canonical(unwrap(key, decode_wrapped_key(grant.keyring), context))
        keyring = parse(opened, Keyring, WireError, "a key grant's keyring")
        studies = {
            int(number): StudyKey.from_bytes(decode_wrapped_key(text)) for number, text in keyring.keys.items()
        }
        if epoch not in studies or studies[epoch].commitment != grant.commitment:
            raise WireError("a key grant commits to another study key than the one it wraps")
        if max(studies) > epoch:
            raise WireError(
                f"a key grant of epoch {epoch} holds a key of epoch {max(studies)}, which is not its to give"
            )
        self._studies.setdefault(epoch, studies.pop(epoch))
        for number, study_key in studies.items():
            if number not in self._ended and number not in self._studies:
                self._unproven[number, study_key.commitment] = study_key
        self._compute_pair_secrets(epoch, offers)

    def confirm_study_key(self, epoch: int, commitment: str) -> None:
        """Accept a key of an earlier epoch that was kept aside, since the headers of a round commit to it.

        Run by a site that opens a round, after it has checked the headers' signatures. Nothing changes for an epoch
        whose own key this site has, or whose key it lacks.
        """
        if (epoch, commitment) in self._unproven and epoch not in self._studies and epoch not in self._ended:
            self._studies[epoch] = self._unproven[epoch, commitment]
            self._forget_unproven(epoch)

    def find_study_key(self, epoch: int) -> StudyKey:
        """Return the study key of ``epoch``.

        Raises:
            EpochLostError: it is not held.
            RefusedError: ``opening-failed``: the epoch has ended.
        """
        if epoch in self._ended:
            raise RefusedError(
                RefusalCode.OPENING_FAILED, f"key epoch {epoch} has ended here: an aggregate of it did not open"
            )
        if epoch not in self._studies:
            raise EpochLostError(f"this site does not hold the study key of epoch {epoch}: it was restarted since")
        return self._studies[epoch]

    def find_pair_secrets(self, epoch: int) -> Mapping[str, bytes]:
        """Return the 32 bytes shared with each other member of ``epoch``, by its name.

        Raises:
            EpochLostError: the epoch's keys are not held, or this site has the keys of a newer epoch.
        """
        newest = max((*self._pairs, *self._ended), default=epoch)
        if epoch < newest:
            raise EpochLostError(f"this site has moved to key epoch {newest} and seals nothing under epoch {epoch}")
        if epoch not in self._pairs:
            raise EpochLostError(f"this site holds no keys of epoch {epoch}: it was restarted since")
        return self._pairs[epoch]

    def find_patient_counts(self, epoch: int, cohort: Collection[str]) -> Mapping[str, int]:
        """Return the public patient counts that the sites of ``cohort`` have offered in ``epoch``.

        Raises:
            EpochLostError: the epoch's offers are not held.
            WireError: a site of the cohort has made no offer.
        """
        offered = self._patients.get(epoch)
        if offered is None:
            raise EpochLostError(f"this site holds no offers of epoch {epoch}: it was restarted since")
        if lacking := sorted(set(cohort) - set(offered)):
            raise WireError(
                f"{', '.join(lacking)} offered no key in epoch {epoch}, so no cohort of it can have them"
            )
        return {name: offered[name] for name in cohort}

    def end_epoch(self, epoch: int) -> tuple[int, ...]:
        """Remove the keys of ``epoch`` for good; return all epochs that have ended so."""
        self._ended.add(epoch)
        self._forget_unproven(epoch)
        for held in (self._sessions, self._studies, self._pairs, self._patients):
            held.pop(epoch, None)
        forget_loaded_keys()
        return tuple(sorted(self._ended))

    def find_held_keys(self, epochs: Collection[int]) -> dict[int, StudyKey]:
        """Return the study keys of ``epochs``, as far as they are held."""
        return {epoch: key for epoch, key in self._studies.items() if epoch in epochs}

    def forget_all_keys(self) -> None:
        """Remove all keys: the study is closed here."""
        for held in (self._sessions, self._studies, self._pairs, self._patients):
            held.clear()
        self._unproven.clear()

    def _forget_unproven(self, epoch: int) -> None:
        self._unproven = {place: key for place, key in self._unproven.items() if place[0] != epoch}

    def _find_session(self, epoch: int) -> SessionKey:
        if epoch not in self._sessions:
            raise EpochLostError(f"this site has no session key for epoch {epoch}: it was restarted since")
        return self._sessions[epoch]

    def _find_member_key(self, name: str) -> PublicKey:
        if name not in self._keys_of_members:
            raise WireError(f"'{name}' is not on the study's roster")
        return self._keys_of_members[name]

    def _verify_offers(self, offers: Mapping[str, Signed[KeyOffer]], epoch: int) -> dict[str, KeyOffer]:
        """Return the offers' statements, each signed by its site for this study and epoch.

        This site's own offer must be among them.
        """
        verified = {}
        for name, signed in offers.items():
            offer = signed.verify(self._find_member_key(name))
            if (offer.study, offer.launch, offer.site, offer.epoch) != (
                self._launch.study,
                self._launch_digest,
                name,
                epoch,
            ):
                raise WireError(f"the key offer of '{name}' is for another study or epoch")
            verified[name] = offer
        own = verified.get(self._site)
        if own is None or own.session_key != self._find_session(epoch).public:
            raise EpochLostError(f"the offers of epoch {epoch} do not contain this site's present session key")
        return verified

    def _compute_pair_secrets(self, epoch: int, offers: Mapping[str, KeyOffer]) -> None:
        session, context = self._find_session(epoch), self._make_context(epoch, "")
        self._patients[epoch] = {name: offer.patients for name, offer in offers.items()}
        self._pairs[epoch] = {
            name: session.agree(offer.session_key, PAIR_LABEL + context)
            for name, offer in offers.items()
            if name != self._site
        }

    def _make_context(self, epoch: int, offers: str) -> bytes:
        return to_canonical(
            {"study": self._launch.study, "launch": self._launch_digest, "epoch": epoch, "offers": offers}
        )
