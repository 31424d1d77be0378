"""The contents of ``site.yaml``: the site's name, where its training runs, and the programs that it tells of events.

What the site allows is in a file of its own (``client/site/policy.py``).
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from client.site.hooks import HooksConfig
from client.site.launcher import Launcher, ProcessLauncher
from client.site.proxy import ProxyConfig
from privacy.document import Document
from privacy.study import SiteName


class SiteConfig(Document):
    """The contents of ``site.yaml``."""

    name: SiteName
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    launcher: Launcher = ProcessLauncher()
    hooks: HooksConfig = HooksConfig()
    proxy: ProxyConfig | None = None
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Where Prometheus on this machine reads metrics (``privacy/metrics.py``); nowhere without it."""

    @model_validator(mode="before")
    @classmethod
    def _has_no_policy(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and "policy" in fields:
            raise ValueError(
                "policy: the policy has a file of its own now, policy.yaml; move it with: consilium-site policy migrate"
            )
        return fields
