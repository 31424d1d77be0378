"""A federation's folder at the coordinator.

::

    coordinator.yaml   name, address, ports, timeouts
    identity.key       Ed25519; signs launches and every request
    operator.key       Ed25519; signs the launch orders of the operator at this machine
    ca.* server.*      certificate authority and TLS certificate (server/federation/certificates.py)
    gateway/           what the gateway sees (server/federation/gateway_files.py)
    sites.json         enrolled sites and people, their public keys, revoked certificates
    invitations.json   who is invited, and the requests that came (server/federation/invitations.py)
    audit.sqlite       who changed what (server/federation/audit_log.py)
    restored           after a restore, until its operator has confirmed who is a member
    superlink/         Flower's state and logs
    witness.sqlite     every head of a site's ledger that was seen, countersigned
    studies/STUDY/     a study's journal and aggregates

Nothing here can open an update: the coordinator has no study key.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from cryptography import x509

from privacy.canonical import from_canonical, to_canonical
from privacy.document import read_document, read_yaml
from privacy.errors import FederationError, WireError
from privacy.files import create_folder, replace_file, require_private
from privacy.keys import SigningKey
from privacy.program import Program, read_program
from privacy.study import DataContract, Terms
from privacy.study.launch import (
    MAX_LAUNCH_BYTES,
    Launch,
    Member,
    SignedLaunch,
    SignedLaunchOrder,
    sign_order,
    verify_order,
)
from server.federation.audit_log import AuditLog
from server.federation.certificates import TlsFiles, create_authority, issue_server_certificate, renew_in_time
from server.federation.config import CONFIG_FILE, CoordinatorConfig, EnrolledSite, Enrolment
from server.federation.gateway_files import GatewayFiles
from server.federation.invitations import Invitations
from server.study.journal import Journal
from server.study.timeouts import Timeouts
from server.study.witness import Witness

OPERATOR_KEY: Final = "operator.key"
LOCAL_OPERATOR: Final = "local"
"""The name of the operator at the coordinator's own machine."""


@dataclass(frozen=True)
class Federation:
    """A federation's folder. Reading a missing or damaged file raises :class:`FederationError`."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, config: CoordinatorConfig) -> "Federation":
        """Make a federation: its identity, its certificate authority and its server certificate.

        Raises:
            FederationError: the folder is not empty or cannot be written.
        """
        with create_folder(folder, FederationError):
            SigningKey.generate().save(folder / "identity.key")
            SigningKey.generate().save(folder / OPERATOR_KEY)
            files = create_authority(folder, config.federation)
            issue_server_certificate(files, [config.host])
            if config.gateway:
                now = datetime.datetime.now(datetime.UTC)
                GatewayFiles(folder / "gateway").write(files, config.federation, [config.host], (), now)
            (folder / "studies").mkdir()
            (folder / "superlink").mkdir(exist_ok=True)
            text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
            (folder / CONFIG_FILE).write_text(_CONFIG_YAML + text, encoding="utf-8")
        return cls(folder)

    @property
    def config(self) -> CoordinatorConfig:
        """The configuration, read from ``coordinator.yaml``."""
        path = self.folder / CONFIG_FILE
        if not path.exists():
            raise FederationError(
                f"{self.folder}: no {CONFIG_FILE} here; make a federation with: consilium init DIR"
            )
        require_private(self.folder, FederationError)
        return read_yaml(path, CoordinatorConfig, FederationError)

    @property
    def timeouts(self) -> Timeouts:
        """The timeouts of the configuration."""
        return Timeouts(**self.config.timeouts.model_dump())

    @property
    def tls(self) -> TlsFiles:
        """The certificate authority and the server's certificate."""
        return TlsFiles(self.folder)

    def load_identity(self) -> SigningKey:
        """Load the coordinator's identity."""
        return SigningKey.load(self.folder / "identity.key")

    def renew_certificates(self) -> list[str]:
        """Renew certificates that expire soon; return a sentence for each, for the operator.

        Raises:
            FederationError: the authority's files cannot be used.
            KeyFileError: the authority's key is missing or readable by others.
        """
        said = renew_in_time(self.tls, [self.config.host], datetime.datetime.now(datetime.UTC))
        self.write_gateway_files()
        return said

    def write_gateway_files(self) -> None:
        """Write what the gateway sees, if there is one: its certificate, and the revoked certificates."""
        config = self.config
        if config.gateway:
            now = datetime.datetime.now(datetime.UTC)
            revoked = self.read_enrolment().revoked
            GatewayFiles(self.folder / "gateway").write(self.tls, config.federation, [config.host], revoked, now)

    def read_gateway_certificate(self) -> x509.Certificate | None:
        """Read the gateway's present certificate; None if there is none."""
        return GatewayFiles(self.folder / "gateway").read_certificate()

    def mark_restored(self, written: str) -> None:
        """Note that the folder was restored from a backup of a time, until :meth:`confirm_restored`."""
        replace_file(self._restored_path, written.encode("utf-8"), FederationError)

    def confirm_restored(self) -> None:
        """Note that the operator has looked at who is a member since the restore."""
        self._restored_path.unlink(missing_ok=True)

    def require_confirmed(self) -> None:
        """Refuse a restored federation whose members nobody has looked at.

        Raises:
            FederationError: it is one.
        """
        if self._restored_path.exists():
            written = self._restored_path.read_text(encoding="utf-8")
            raise FederationError(
                f"this federation was restored from a backup of {written}: who was removed since is a member again; "
                "look at the members, remove those who are none, and confirm: consilium confirm-members"
            )

    @property
    def _restored_path(self) -> Path:
        return self.folder / "restored"

    def open_audit_log(self) -> AuditLog:
        """Open the log of who changed what."""
        return AuditLog(self.folder / "audit.sqlite")

    def open_invitations(self) -> Invitations:
        """Open the invitations."""
        return Invitations(self.folder)

    def open_witness(self) -> Witness:
        """Open the record of ledger heads that this coordinator has seen and countersigned."""
        return Witness(self.folder / "witness.sqlite", self.load_identity())

    def read_enrolment(self) -> Enrolment:
        """Read who is enrolled, and which certificates are revoked."""
        path = self.folder / "sites.json"
        if not path.exists():
            return Enrolment()
        return read_document(path, Enrolment, FederationError, "restore it from your backup")

    def read_sites(self) -> dict[str, EnrolledSite]:
        """Read the enrolled sites, by name."""
        return self.read_enrolment().sites

    def write_enrolment(self, enrolment: Enrolment) -> None:
        """Store who is enrolled."""
        replace_file(self.folder / "sites.json", enrolment.to_bytes(), FederationError)

    def read_nodes(self) -> dict[str, int]:
        """Read Flower's node id of each site that is registered with the SuperLink."""
        path = self._nodes_path
        if not path.exists():
            return {}
        try:
            return {name: int(node) for name, node in from_canonical(path.read_bytes()).items()}
        except (OSError, WireError) as error:
            raise FederationError(f"{path}: cannot be used: {error}; it is written anew by: consilium up") from None

    def write_nodes(self, nodes: dict[str, int]) -> None:
        """Store node ids, as text: they have 64 bits, and a JSON number holds fewer."""
        replace_file(
            self._nodes_path, to_canonical({name: str(node) for name, node in nodes.items()}), FederationError
        )

    def read_activations(self) -> dict[str, str]:
        """Read when each site's present agent came online, as text that is only compared with earlier text."""
        try:
            return dict(from_canonical(self._activations_path.read_bytes()))
        except (OSError, WireError):
            return {}

    def write_activations(self, activations: dict[str, str]) -> None:
        """Store when agents came online; the process that runs a study finds restarted sites by it."""
        replace_file(self._activations_path, to_canonical(activations), FederationError)

    @property
    def message_marks_path(self) -> Path:
        """The folder of marks that a message waits for a site (``server/superlink/message_marks.py``)."""
        return self.folder / "superlink" / "waiting"

    @property
    def _activations_path(self) -> Path:
        return self.folder / "superlink" / "activations.json"

    @property
    def _nodes_path(self) -> Path:
        return self.folder / "superlink" / "nodes.json"

    def load_operator(self) -> SigningKey:
        """Load the key that signs the orders of the operator at this machine; make it if there is none."""
        path = self.folder / OPERATOR_KEY
        if not path.exists():
            SigningKey.generate().save(path)
        return SigningKey.load(path)

    def launch(
        self, terms: Terms, parameters: int, names: list[str], order: SignedLaunchOrder | None = None
    ) -> str:
        """Sign a launch of ``terms`` for the sites ``names`` (all enrolled ones if empty) and create its journal.

        Args:
            terms: the study.
            parameters: the number of the model's shared parameters.
            names: the sites; not needed with an order, which names them.
            order: the order of the operator who launches it; without one, the operator at this machine orders it.

        Raises:
            FederationError: a site is not enrolled, the terms do not allow this number of sites, the launch is too
                large for a message, or the order is for another study, or was used before.
        """
        if order is not None:
            names = list(order.statement.sites)
        enrolled = self.read_sites()
        unknown = sorted(set(names) - set(enrolled))
        if unknown:
            raise FederationError(
                f"not enrolled: {', '.join(unknown)}; enrolled sites: {', '.join(sorted(enrolled)) or 'none'}"
            )
        invited = sorted(set(names or enrolled))
        minimum, maximum = terms.cohort.minimum, terms.cohort.maximum
        if not minimum <= len(invited) <= maximum:
            raise FederationError(
                f"{len(invited)} sites are invited, the terms allow {minimum} to {maximum} (cohort); "
                "enrol more sites or name them with --site"
            )
        federation = self.config.federation
        if order is None:
            order = sign_order(
                self.load_operator(),
                LOCAL_OPERATOR,
                federation=federation,
                terms=terms,
                parameters=parameters,
                sites=invited,
            )
        launch = Launch(
            federation=federation,
            terms=terms,
            roster=tuple(Member(name=name, identity=enrolled[name].identity) for name in invited),
            parameters=parameters,
            nonce=order.statement.nonce,
            order=order,
            program=read_program(),
        )
        try:
            verify_order(launch)
        except WireError as error:
            raise FederationError(f"{error}; order it again: consilium study launch") from None
        signed = SignedLaunch.sign(self.load_identity(), launch)
        if (size := len(signed.to_bytes())) > MAX_LAUNCH_BYTES:
            raise FederationError(
                f"the launch has {size} bytes, and no site takes more than {MAX_LAUNCH_BYTES}; "
                "name fewer columns, or fewer words for a column"
            )
        Journal.create(self.find_study_folder(launch.study), signed).close()
        return launch.study

    def read_known_patients(self, contract: DataContract, names: Iterable[str]) -> dict[str, int]:
        """Read the patient counts that the named sites signed in earlier studies on the same ``contract``."""
        known: dict[str, int] = {}
        for study in self.list_studies():
            with Journal(self.find_study_folder(study)) as journal:
                parcel = journal.read_history().keys
                if parcel is not None and journal.read_launch().statement.terms.data == contract:
                    known |= {name: signed.statement.patients for name, signed in parcel.offers.items()}
        return {name: known[name] for name in names if name in known}

    def read_programs(self) -> dict[str, Program]:
        """Read which program each site said to run when it last joined a study."""
        programs: dict[str, Program] = {}
        for study in self.list_studies():
            with Journal(self.find_study_folder(study)) as journal:
                programs |= journal.read_history().programs
        return programs

    def find_study_folder(self, study: str) -> Path:
        """Return the folder of a study's journal."""
        return self.folder / "studies" / study

    def require_study_folder(self, study: str) -> Path:
        """Return the folder of the journal of a study that was launched here.

        Raises:
            FederationError: there is no study with this name, or the folder is not a federation's.
        """
        if study not in self.list_studies():
            raise FederationError(
                f"there is no study '{study}' in '{self.config.federation}'; see: consilium study list"
            )
        return self.find_study_folder(study)

    def list_studies(self) -> list[str]:
        """List the studies launched here, oldest first."""
        launches = (self.folder / "studies").glob("[!.]*/launch.json")
        return [path.parent.name for path in sorted(launches, key=lambda path: path.stat().st_mtime_ns)]


_CONFIG_YAML: Final = """\
# The coordinator of a federation. Sites reach it at host:port; how long rounds wait is in seconds, the room for the
# sums of one study (aggregates_gb) in GB. With a gateway in
# front, superlink_port and control_port are where the gateway finds it (docs/deployment.md).
"""
