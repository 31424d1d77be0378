"""Read and write a site's folder: keys, configuration, ledger, registered data and studies.

::

    site.yaml        who the site is and what it allows (the data protection officer's file)
    identity.key     Ed25519; signs everything the site sends, and its ledger
    node.key         P-384; Flower's node authentication
    admission.json   the coordinator's answer to the join request
    peers.json       identity keys of other sites that this site's people have compared and pinned
    data.json        registered data: files, digests, public counts, populations
    patients/        which patient is in which population, as keyed digests
    ledger.sqlite    the ledger
    witnessed.json   its newest head that the coordinator has countersigned
    weights/         public weights to begin studies with, by their SHA-256
    studies/NAME/    what the site keeps of a study; the final model and its card
    log/             figures that never leave

Rules:

* the folder is readable by its owner only (0700);
* files are replaced whole, never in part;
* what cannot be read is refused with the file's name.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import yaml

from client.data.patient_register import PatientRegister
from client.site.config import Policy, SiteConfig
from client.site.peers import Peers
from client.site.public_weights import PublicWeights
from client.site.registry import Registration, Registry
from privacy.document import Document, parse, read_document, read_yaml
from privacy.errors import SiteConfigError, StorageError, WireError
from privacy.files import create_folder, replace_file, require_private
from privacy.keys import PublicKey, SigningKey, format_node_key, generate_node_key, load_node_key
from privacy.ledger import Ledger
from privacy.ledger.signed_head import Countersigned
from privacy.protocol.enrolment import Admission, JoinRequest, SignedAdmission, SignedJoinRequest

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
        config = parse(
            {"name": name, "device": device, "policy": (policy or Policy()).model_dump(mode="json")},
            SiteConfig,
            SiteConfigError,
            "site",
        )
        with create_folder(folder, SiteConfigError):
            home = cls(folder)
            identity = SigningKey.generate()
            identity.save(folder / "identity.key")
            generate_node_key(folder / "node.key")
            (folder / SITE_FILE).write_text(
                _SITE_YAML + yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
            )
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

    def make_join_request(self) -> SignedJoinRequest:
        """Make the signed join request: what the coordinator needs to know of this site; nothing secret."""
        identity = self.load_identity()
        request = JoinRequest(
            name=self.config.name,
            identity=identity.public.text,
            node_key=format_node_key(load_node_key(self.node_key_path)),
        )
        return SignedJoinRequest.sign(identity, request)

    def accept_admission(self, admission: SignedAdmission) -> Admission:
        """Verify and store the coordinator's answer to the join request.

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
        # the authority first: where an admission is stored, its certificate is stored too
        replace_file(self.ca_path, statement.ca_certificate.encode("ascii"), SiteConfigError)
        replace_file(self.folder / "admission.json", admission.to_bytes(), SiteConfigError)
        return statement

    def load_admission(self) -> Admission:
        """Load the coordinator's answer to the join request."""
        path = self.folder / "admission.json"
        if not path.exists():
            raise SiteConfigError(
                f"{self.folder}: the site has not joined a coordinator yet; hand over the request of "
                "'consilium-site join --request FILE' and come back with 'consilium-site join --admission FILE'"
            )
        return self._read(path, SignedAdmission).statement

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
        self._write_peers(self.load_peers().pin(name, key, self.load_identity().public))

    def forget_peer(self, name: str) -> None:
        """Remove the pinned key of ``name``.

        Raises:
            SiteConfigError: it is not pinned.
        """
        self._write_peers(self.load_peers().forget(name))

    def _write_peers(self, peers: Peers) -> None:
        replace_file(self.folder / "peers.json", peers.to_bytes(), SiteConfigError)

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
# Who this site is, and what it allows. The policy is read anew for every study, the rest when the site starts.
"""
