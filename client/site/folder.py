"""Read and write a site's folder: keys, configuration, ledger, registered data and studies.

::

    site.yaml        who the site is, and where its training runs
    policy.yaml      what it allows (the data protection officer's file)
    identity.key     Ed25519; signs everything the site sends, and its ledger
    node.key         P-384; Flower's node authentication
    tls.pem          TLS key and certificate for the federation's gateway (privacy/client_certificate.py)
    invitation.json  what the coordinator's operator handed over, and join-request.json, the answer to it, until the
                     admission has come
    admission.json   the coordinator's answer to the join request
    peers.json       identity keys of other sites that this site's people have compared and pinned, and the consortium
                     that they trust
    data.json        registered data: files, digests, public counts, populations
    patients/        which patient is in which population, as keyed digests
    ledger.sqlite    the ledger
    witnessed.json   its newest head that the coordinator has countersigned
    peers.sqlite     what this site has seen of other sites' ledgers
    data/            snapshots of data that a mapping leads to (client/data/conversion/kept_snapshots.py)
    weights/         public weights to begin studies with, by their SHA-256
    studies/NAME/    what the site keeps of a study; the final model and its card
    restored         the time of the backup from which the folder was restored, until somebody confirms its policy
    log/             figures that never leave

Rules:

* the folder is readable by its owner only (0700);
* files are replaced whole, never in part;
* what cannot be read is refused with the file's name.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import yaml

from client.data.patient_register import PatientRegister
from client.site.config import SiteConfig
from client.site.peers import Peers
from client.site.policy import POLICY_FILE, Policy
from client.site.policy_file import read_policy, write_policy
from client.site.public_weights import PublicWeights
from client.site.registry import Registration, Registry
from privacy.client_certificate import CredentialFiles, Role, Subject
from privacy.document import Document, parse, read_document, read_yaml
from privacy.errors import SiteConfigError, StorageError, WireError
from privacy.files import create_folder, hold_lock, replace_file, require_private
from privacy.keys import PublicKey, SigningKey, format_node_key, generate_node_key, load_node_key
from privacy.ledger import Ledger
from privacy.ledger.signed_head import Countersigned
from privacy.protocol.enrolment import Admission, JoinRequest, NodeKeyClaim, SignedAdmission, SignedJoinRequest
from privacy.protocol.invitation import Invitation

SITE_FILE: Final = "site.yaml"


D = TypeVar("D", bound=Document)


@dataclass(frozen=True)
class SiteFolder:
    """A site's folder. Reading what is missing or damaged raises SiteConfigError."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, name: str, device: str = "auto", policy: Policy | None = None) -> "SiteFolder":
        """Create a site: its keys, its ledger, its configuration.

        Raises:
            SiteConfigError: the folder is not empty or cannot be written.
        """
        config = parse({"name": name, "device": device}, SiteConfig, SiteConfigError, "site")
        with create_folder(folder, SiteConfigError):
            home = cls(folder)
            identity = SigningKey.generate()
            identity.save(folder / "identity.key")
            generate_node_key(folder / "node.key")
            (folder / SITE_FILE).write_text(
                _SITE_YAML + yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
            )
            write_policy(folder, policy or Policy())
            (folder / "studies").mkdir()
            (folder / "log").mkdir()
            PatientRegister.create(folder / "patients")
            Ledger.create(home.ledger_path, identity, name).close()
        return home

    @property
    def config(self) -> SiteConfig:
        """The contents of ``site.yaml``, read anew each time."""
        path = self._find_file(SITE_FILE)
        require_private(self.folder, SiteConfigError)
        return read_yaml(path, SiteConfig, SiteConfigError)

    @property
    def policy(self) -> Policy:
        """The contents of ``policy.yaml``, read anew each time."""
        path = self._find_file(POLICY_FILE)
        require_private(self.folder, SiteConfigError)
        return read_policy(path)

    def load_identity(self) -> SigningKey:
        """Load the site's identity.

        Raises:
            SiteConfigError: a change of the identity key was interrupted.
        """
        if self.next_identity_path.exists():
            raise SiteConfigError(
                f"{self.folder}: a change of this site's identity key was interrupted; finish it: "
                "consilium-site key change"
            )
        return SigningKey.load(self.identity_path)

    @property
    def identity_path(self) -> Path:
        """The file of the site's identity key."""
        return self._find_file("identity.key")

    @property
    def next_identity_path(self) -> Path:
        """The file of the next identity key, while the key is being changed."""
        return self._find_file("identity.key.next")

    @property
    def node_key_path(self) -> Path:
        """The file of Flower's node key."""
        return self.folder / "node.key"

    @property
    def ca_path(self) -> Path:
        """The file of the certificate authority that came with the coordinator's admission."""
        return self.folder / "coordinator-ca.pem"

    @property
    def ledger_path(self) -> Path:
        """The file of the ledger."""
        return self.folder / "ledger.sqlite"

    @property
    def snapshots(self) -> Path:
        """The folder of snapshots of the hospital's data."""
        return self.folder / "data"

    @contextmanager
    def hold_admissions(self) -> Iterator[None]:
        """Keep studies from being admitted while the block runs, and wait for one that is being admitted."""
        with hold_lock(self.folder / "admission.lock"):
            yield

    def mark_restored(self, written: str) -> None:
        """Note that the folder was restored from a backup of a time, until :meth:`confirm_policy`."""
        replace_file(self._restored_path, written.encode("utf-8"), SiteConfigError)

    def confirm_policy(self) -> None:
        """Note that somebody has looked at the policy since the restore."""
        self._restored_path.unlink(missing_ok=True)

    def describe_unconfirmed(self) -> str | None:
        """Describe in a sentence that the policy was restored and nobody has confirmed it; None if it is in force."""
        if not self._restored_path.exists():
            return None
        written = self._restored_path.read_text(encoding="utf-8")
        return (
            f"this site was restored from a backup of {written}, and nobody has looked at its policy since: no study "
            "is admitted before somebody confirms it: consilium-site confirm-policy"
        )

    @property
    def _restored_path(self) -> Path:
        return self._find_file("restored")

    @property
    def log_path(self) -> Path:
        """The file of figures that never leave."""
        return self.folder / "log" / "training.log"

    def find_study_folder(self, study: str) -> Path:
        """Return the folder in which the site keeps what it has of ``study``."""
        return self.folder / "studies" / study

    def open_ledger(self) -> Ledger:
        """Open the ledger and verify it.

        Raises:
            SiteConfigError: it is another site's than ``site.yaml`` says.
            LedgerError: it does not verify.
        """
        config, ledger = self.config, Ledger.open(self.ledger_path, self.load_identity())
        if ledger.site != config.name:
            ledger.close()
            raise SiteConfigError(
                f"{self.folder}: {SITE_FILE} names the site '{config.name}', its ledger is that of '{ledger.site}': "
                "put that name back; a site keeps its name"
            )
        return ledger

    @property
    def credentials(self) -> CredentialFiles:
        """The TLS key and certificate of this site."""
        return CredentialFiles(self.folder)

    def make_join_request(self, contact: str = "", invitation: Invitation | None = None) -> SignedJoinRequest:
        """Make the signed join request: what the coordinator needs to know of this site; nothing secret.

        Raises:
            SiteConfigError: the invitation is for another site.
        """
        identity, name = self.load_identity(), self.config.name
        if invitation is not None and (invitation.name, invitation.role) != (name, Role.SITE):
            raise SiteConfigError(
                f"the invitation is for the {invitation.role} '{invitation.name}', this site is '{name}'; ask for yours"
            )
        node_key, tls_request = load_node_key(self.node_key_path), self.credentials.make_request(name)
        request = JoinRequest(
            name=name,
            identity=identity.public.text,
            node_key=format_node_key(node_key),
            node_proof=self.prove_node_key(name, tls_request),
            tls_request=tls_request,
            coordinator=None if invitation is None else invitation.coordinator,
            authority=None if invitation is None else invitation.authority_digest,
            contact=contact,
        )
        return SignedJoinRequest.sign(identity, request)

    def prove_node_key(self, name: str, tls_request: str) -> str:
        """Prove that this site, enrolled as ``name``, holds its node key beside the TLS key of ``tls_request``."""
        claim = NodeKeyClaim(name=name, identity=self.load_identity().public.text, tls_request=tls_request)
        return claim.prove(load_node_key(self.node_key_path))

    def accept_admission(self, admission: SignedAdmission) -> Admission:
        """Verify and store the coordinator's answer to the join request, and the certificate that it holds.

        Raises:
            SiteConfigError: it is for another site, another key, or not signed by the coordinator it names.
        """
        statement = admission.statement
        config, own = self.config, self.load_identity().public
        if (statement.name, statement.identity) != (config.name, own.text):
            other = PublicKey.from_text(statement.identity)
            raise SiteConfigError(
                f"the admission is for '{statement.name}' with the key {other.typed}, "
                f"this site is '{config.name}' with {own.typed}; ask the coordinator for your own"
            )
        try:
            admission.verify(PublicKey.from_text(statement.coordinator))
        except WireError as error:
            raise SiteConfigError(f"the admission is damaged: {error}") from None
        trusted = self.load_peers().consortium
        if trusted is not None and trusted.key.text == statement.coordinator:
            raise SiteConfigError(
                f"the coordinator's key is that of the consortium '{trusted.name}', which this site trusts to say who "
                "its peers are: whoever coordinates must not decide that; nothing was changed"
            )
        subject = Subject(statement.federation, Role.SITE, statement.name)
        self.credentials.accept(statement.certificate, subject, SiteConfigError)
        # the authority first: where an admission is stored, its certificate is stored too
        replace_file(self.ca_path, statement.ca_certificate.encode("ascii"), SiteConfigError)
        replace_file(self.folder / "admission.json", admission.to_bytes(), SiteConfigError)
        self.invitation_path.unlink(missing_ok=True)
        (self.folder / "join-request.json").unlink(missing_ok=True)
        return statement

    def make_invited_request(self, contact: str, invitation: Invitation) -> SignedJoinRequest:
        """Make the join request that answers ``invitation``, once: later calls return the same one.

        Raises:
            SiteConfigError: the invitation is for another site.
        """
        path = self._find_file("join-request.json")
        if path.exists():
            known = self._read(path, SignedJoinRequest)
            if known.statement.authority == invitation.authority_digest and self.credentials.next_key.exists():
                return known
        signed = self.make_join_request(contact, invitation)
        replace_file(path, signed.to_bytes(), SiteConfigError)
        return signed

    @property
    def invitation_path(self) -> Path:
        """The file of an invitation whose admission has not come yet."""
        return self.folder / "invitation.json"

    def load_admission(self) -> Admission:
        """Load the coordinator's answer to the join request."""
        path = self.folder / "admission.json"
        if not path.exists():
            raise SiteConfigError(
                f"{self.folder}: the site has not joined a coordinator yet; with an invitation: consilium-site join "
                "INVITATION; by files: 'consilium-site join --request FILE', and then 'join --admission FILE'"
            )
        return self._read(path, SignedAdmission).statement

    @property
    def peer_heads_path(self) -> Path:
        """The file of what this site has seen of other sites' ledgers."""
        return self._find_file("peers.sqlite")

    def load_witnessed(self) -> Countersigned | None:
        """Load the newest head of the ledger that the coordinator has countersigned; None if there is none."""
        path = self._find_file("witnessed.json")
        return self._read(path, Countersigned) if path.exists() else None

    def keep_witnessed(self, countersigned: Countersigned) -> None:
        """Store a countersigned head beside the ledger, for a recovery after the ledger is lost."""
        replace_file(self._find_file("witnessed.json"), countersigned.to_bytes(), StorageError)

    def forget_admission(self) -> None:
        """Remove the admission: the site belongs to no coordinator until one has admitted it again."""
        (self.folder / "admission.json").unlink(missing_ok=True)

    def load_peers(self) -> Peers:
        """Load the pinned peers."""
        path = self._find_file("peers.json")
        return self._read(path, Peers) if path.exists() else Peers()

    def pin_peer(self, name: str, key: PublicKey) -> None:
        """Pin ``key``, which people have compared, as the identity of ``name``.

        Raises:
            SiteConfigError: as :meth:`Peers.pin`.
        """
        own = self.load_identity().public
        self.change_peers(lambda peers: peers.pin(name, key, own))

    def forget_peer(self, name: str) -> None:
        """Remove the pinned key of ``name``.

        Raises:
            SiteConfigError: it is not pinned.
        """
        self.change_peers(lambda peers: peers.forget(name))

    def trust_consortium(self, name: str, key: PublicKey) -> None:
        """Pin ``key``, which people have compared, as the key of the consortium ``name``.

        Raises:
            SiteConfigError: as :meth:`Peers.trust_consortium`.
        """
        strangers = {"this site": self.load_identity().public}
        if (self.folder / "admission.json").exists():
            strangers["the coordinator"] = PublicKey.from_text(self.load_admission().coordinator)
        self.change_peers(lambda peers: peers.trust_consortium(name, key, strangers))

    def change_peers(self, change: Callable[[Peers], Peers]) -> Peers:
        """Replace the peers by what ``change`` makes of them, and return these; one change at a time.

        Raises:
            SiteConfigError: the file cannot be read or written, or ``change`` refuses.
        """
        path = self._find_file("peers.json")
        with hold_lock(self.folder / "peers.lock"):
            peers = change(self.load_peers())
            replace_file(path, peers.to_bytes(), SiteConfigError)
        return peers

    def load_registry(self) -> Registry:
        """Load the registered data."""
        path = self._find_file("data.json")
        return self._read(path, Registry) if path.exists() else Registry()

    def open_patient_register(self) -> PatientRegister:
        """Open the register of which patient is in which population."""
        return PatientRegister(self._find_file("patients"))

    def open_public_weights(self) -> PublicWeights:
        """Return the folder of the site's public weights."""
        return PublicWeights(self._find_file("weights"))

    def add_registration(self, registration: Registration) -> None:
        """Store a registration, after the ledger has recorded it."""
        known = {**self.load_registry().registrations, registration.contract.digest: registration}
        replace_file(self.folder / "data.json", Registry(registrations=known).to_bytes(), SiteConfigError)

    def _find_file(self, name: str) -> Path:
        if not (self.folder / SITE_FILE).exists():
            raise SiteConfigError(f"{self.folder}: no {SITE_FILE} here; make a site with: consilium-site init DIR")
        return self.folder / name

    def _read(self, path: Path, kind: type[D]) -> D:
        return read_document(path, kind, SiteConfigError, "restore it from your backup")


_SITE_YAML: Final = """\
# Who this site is, and where its training runs; read when the site starts. What it allows is in policy.yaml.
"""
