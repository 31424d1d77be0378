"""The coordinator's configuration file and its list of enrolled sites and people.

Two arrangements:

* **on one machine**: the SuperLink listens at ``port`` and the control plane at ``control_port`` of the loopback
  interface. Sites on the same machine connect to both directly.
* **behind a gateway** (``gateway: true``): sites and people connect to ``host:port``, which the gateway publishes.
  The SuperLink listens at ``superlink_port``, the control plane at ``control_port``, of the loopback interface or,
  where the gateway is in another container, of ``listen``.
"""

import datetime
from typing import Final, Literal

from pydantic import Field

from privacy.address import Host, is_loopback, join_address
from privacy.client_certificate import Role
from privacy.document import Document
from privacy.fields import Contact, KeyText
from privacy.study import Name
from server.federation.client_certificates import RevokedCertificate
from server.federation.ports import CONTROL_PORT, LOOPBACK, SUPERLINK_PORT
from server.study.aggregates import MOST_BYTES
from server.study.timeouts import Timeouts

CONFIG_FILE: Final = "coordinator.yaml"


class TimeoutsConfig(Document):
    """Timeouts for sites in seconds, and ``forgiven_voids``; see :class:`server.study.timeouts.Timeouts`."""

    join_s: float = Field(default=Timeouts.join_s, gt=0)
    seal_s: float = Field(default=Timeouts.seal_s, gt=0)
    release_s: float = Field(default=Timeouts.release_s, gt=0)
    offline_s: float = Field(default=Timeouts.offline_s, gt=0)
    wait_s: float = Field(default=Timeouts.wait_s, gt=0)
    approval_s: float = Field(default=Timeouts.approval_s, gt=0)
    ask_again_s: float = Field(default=Timeouts.ask_again_s, gt=0)
    forgiven_voids: int = Field(default=Timeouts.forgiven_voids, ge=0, le=1000)


class CoordinatorConfig(Document):
    """``coordinator.yaml``: the configuration of the coordinator."""

    federation: Name
    host: Host = LOOPBACK
    """Where sites reach the coordinator or its gateway; a name in the server's certificate."""
    port: int = Field(ge=1, le=65535)
    gateway: bool = False
    """Whether a gateway publishes the coordinator at ``host:port``."""
    superlink_port: int = Field(default=SUPERLINK_PORT, ge=1, le=65535)
    control_port: int = Field(default=CONTROL_PORT, ge=1, le=65535)
    listen: Literal["127.0.0.1", "0.0.0.0", "::"] = LOOPBACK  # noqa: S104 - behind a gateway, in its own network
    """The interfaces at which SuperLink and control plane listen for the gateway."""
    contact: Contact = ""
    """Whom sites call about the coordinator."""
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Where Prometheus on this machine reads metrics (``privacy/metrics.py``); nowhere without it."""
    aggregates_gb: float = Field(default=MOST_BYTES / 1e9, gt=0, le=1e6)
    """Room for the aggregates of one study, in units of 10^9 bytes; see :mod:`server.study.aggregates`."""
    timeouts: TimeoutsConfig = TimeoutsConfig()

    @property
    def address(self) -> str:
        """Where sites reach the coordinator, as ``host:port``."""
        return join_address(self.host, self.port)

    @property
    def control_address(self) -> str:
        """Where sites reach the control plane, as ``host:port``."""
        return self.address if self.gateway else join_address(self.host, self.control_port)

    @property
    def superlink(self) -> tuple[str, int]:
        """Where the SuperLink listens."""
        return (self.listen, self.superlink_port) if self.gateway else (self._own_interface, self.port)

    @property
    def control(self) -> tuple[str, int]:
        """Where the control plane listens for the gateway, or for sites on this machine."""
        return (self.listen if self.gateway else self._own_interface), self.control_port

    @property
    def _own_interface(self) -> str:
        return self.host if is_loopback(self.host) and not self.host.endswith("localhost") else LOOPBACK

    @property
    def reach(self) -> str:
        """A sentence about who can reach the coordinator, if that needs one; else empty."""
        if self.gateway:
            return f"sites reach it at {self.address} through a gateway, which needs the folder gateway/ alone"
        if is_loopback(self.host):
            return ""
        return (
            f"only this machine reaches it: the SuperLink listens at {join_address(LOOPBACK, self.port)}; for a "
            f"gateway that publishes it at {self.address}, set gateway: true in {CONFIG_FILE} (docs/deployment.md)"
        )


class EnrolledMember(Document):
    """Who may connect: their identity key, and the certificates that were issued to them."""

    identity: KeyText
    contact: Contact = ""
    serials: dict[str, datetime.datetime] = Field(default_factory=dict)
    """When each certificate runs out, by its serial number; one that has run out is dropped with the next."""
    newest: str = ""
    """The certificate that was issued last, PEM."""


class EnrolledSite(EnrolledMember):
    """A site that may connect; its node key is that of Flower's node authentication."""

    node_key: str


class EnrolledPerson(EnrolledMember):
    """An operator or auditor who may connect."""

    role: Literal[Role.OPERATOR, Role.AUDITOR]


class Enrolment(Document):
    """``sites.json``: the enrolled sites and people by name, and the keys and certificates of removed ones."""

    sites: dict[Name, EnrolledSite] = Field(default_factory=dict)
    people: dict[Name, EnrolledPerson] = Field(default_factory=dict)
    revoked: tuple[RevokedCertificate, ...] = ()
    removed_node_keys: tuple[str, ...] = ()
    """Of removed sites: Flower never accepts a node key again whose node was removed."""

    def find(self, role: Role, name: str) -> EnrolledSite | EnrolledPerson | None:
        """Find who is enrolled under ``name`` in ``role``."""
        if role is Role.SITE:
            return self.sites.get(name)
        person = self.people.get(name)
        return person if person is not None and person.role is role else None
