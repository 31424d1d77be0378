"""The coordinator's configuration file and its list of enrolled sites."""

from typing import Final

from pydantic import Field

from privacy.address import Host, is_loopback, join_address
from privacy.document import Document
from privacy.fields import KeyText
from privacy.study import Name
from server.study.timeouts import Timeouts

LOOPBACK: Final = "127.0.0.1"
CONFIG_FILE: Final = "coordinator.yaml"


class TimeoutsConfig(Document):
    """Timeouts for sites in seconds, and ``forgiven_voids``; see :class:`server.study.timeouts.Timeouts`."""

    join_s: float = Field(default=Timeouts.join_s, gt=0)
    seal_s: float = Field(default=Timeouts.seal_s, gt=0)
    release_s: float = Field(default=Timeouts.release_s, gt=0)
    offline_s: float = Field(default=Timeouts.offline_s, gt=0)
    wait_s: float = Field(default=Timeouts.wait_s, gt=0)
    ask_again_s: float = Field(default=Timeouts.ask_again_s, gt=0)
    forgiven_voids: int = Field(default=Timeouts.forgiven_voids, ge=0, le=1000)


class CoordinatorConfig(Document):
    """``coordinator.yaml``: the configuration of the coordinator."""

    federation: Name
    host: Host = "127.0.0.1"
    """Where sites reach the coordinator; a name in the server's certificate."""
    port: int = Field(ge=1, le=65535)
    timeouts: TimeoutsConfig = TimeoutsConfig()

    @property
    def address(self) -> str:
        """Where sites reach the coordinator, as ``host:port``."""
        return join_address(self.host, self.port)

    @property
    def listens_at(self) -> str:
        """The address of the loopback interface at which the SuperLink listens."""
        named = self.host.endswith("localhost")
        return self.host if is_loopback(self.host) and not named else LOOPBACK

    @property
    def reach(self) -> str:
        """A sentence if only this machine reaches the coordinator although ``host`` names another; else empty."""
        if is_loopback(self.host):
            return ""
        return (
            f"only this machine reaches it: the SuperLink listens at {join_address(LOOPBACK, self.port)}, and nothing "
            f"of ours publishes it at {self.address} yet"
        )


class EnrolledSite(Document):
    """A site that may connect: its identity key and its node key."""

    identity: KeyText
    node_key: str


class Enrolment(Document):
    """``sites.json``: the enrolled sites, by name."""

    sites: dict[Name, EnrolledSite] = Field(default_factory=dict)
