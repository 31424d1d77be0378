"""Packs of evidence for tests, as a site signs them."""

from typing import Any

from privacy.keys import SigningKey
from privacy.ledger import Ledger
from privacy.ledger.evidence import Evidence, EvidencePack
from privacy.program import Program
from privacy.sbom import Component, Property, Sbom, SbomMetadata
from tests.privacy.ledger_makers import KEY, OTHER_KEY, Value

POLICY: Value = {"epsilon_per_study": 3.0, "automatic": [], "without_privacy": [], "contact": "A. Nurse, 2201"}


def packages(**versions: str) -> Sbom:
    """The list of packages of these versions."""
    own = Component(type="application", name="consilium", version="0.1.0", purl="pkg:pypi/consilium@0.1.0")
    return Sbom(
        metadata=SbomMetadata(component=own),
        components=tuple(
            Component(
                name=name,
                version=version,
                purl=f"pkg:pypi/{name}@{version}",
                properties=(Property(name="consilium:record-sha256", value=f"{len(version):064x}"),),
            )
            for name, version in versions.items()
        ),
    )


def pack(of: Ledger, sbom: Sbom | None = None, *, key: SigningKey = KEY, **changes: Any) -> EvidencePack:
    """A pack of the site 'north' with the head that the ledger ``of`` it has now; ``changes`` are signed too."""
    sbom = sbom or packages(torch="2.13.0")
    fields = {
        "site": "north",
        "key": key.public.text,
        "time": "2026-03-03T08:00:00Z",
        "program": Program(version="0.1.0", code="a" * 64).model_dump(),
        "python": "3.11.7",
        "system": "Linux 6.1 x86_64",
        "sbom": sbom.digest,
        "policy": POLICY,
        "launcher": {"kind": "process", "asked": "required", "in_force": "training is confined by bubblewrap"},
        "hooks": ["incident"],
        "proxy": False,
        "metrics": False,
        "pins": {"peers": {"south": OTHER_KEY.public.typed}, "consortium": None},
        "coordinator": None,
        "checks": [{"check": "disk", "light": "green", "found": "38 GiB are free"}],
        "ledger": of.sign_head().model_dump(mode="json"),
        "witnessed": None,
        **changes,
    }
    return EvidencePack.sign(key, Evidence.model_validate(fields), sbom)
