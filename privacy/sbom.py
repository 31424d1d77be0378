"""List what is installed beside this program, as a CycloneDX 1.5 document.

Rules:

* everything that this interpreter can import as a distribution is in it, needed or not, from the metadata that the
  installer wrote; nothing is asked of the network;
* a component has the SHA-256 of its ``RECORD``, which lists every installed file with its own SHA-256. The files are
  not read: a file that was changed after the installation is found by comparing it with ``RECORD``;
* one installation gives the same document every time: there is no time and no serial number in it;
* where a package was fetched from (``direct_url.json``) is left out: such an address may hold a password.

Source: https://cyclonedx.org/docs/1.5/json/
"""

import importlib.metadata
import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal
from urllib.parse import quote

from pydantic import Field

from privacy.canonical import compute_sha256
from privacy.document import Document
from privacy.program import Program

RECORD: Final = "consilium:record-sha256"
CODE: Final = "consilium:code-sha256"
MOST_COMPONENTS: Final = 5000
_OWN: Final = "consilium"
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_LICENCE_LENGTH: Final = 100
"""Longer text in the field for the licence's name is the licence itself."""

Text = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]


class Property(Document):
    """A fact that CycloneDX has no field for."""

    name: Text
    value: Text


class NamedLicence(Document):
    """A licence by the name that its package gives it."""

    name: Text


class LicenceChoice(Document):
    """One licence of a component."""

    license: NamedLicence


class Component(Document):
    """An installed distribution, or this program."""

    type: Literal["application", "library"] = "library"
    name: Text
    version: Text
    purl: Text
    licenses: tuple[LicenceChoice, ...] = Field(default=(), max_length=20)
    properties: tuple[Property, ...] = Field(default=(), max_length=5)

    @property
    def record(self) -> str:
        """SHA-256 of ``RECORD``; empty where the installer wrote none."""
        return next((each.value for each in self.properties if each.name == RECORD), "")


class SbomMetadata(Document):
    """What the list is of."""

    component: Component


class Sbom(Document):
    """A software bill of materials, in the form of CycloneDX 1.5; the field names are its own."""

    bomFormat: Literal["CycloneDX"] = "CycloneDX"  # noqa: N815
    specVersion: Literal["1.5"] = "1.5"  # noqa: N815
    version: Literal[1] = 1
    metadata: SbomMetadata
    components: tuple[Component, ...] = Field(max_length=MOST_COMPONENTS)


def make_sbom(program: Program) -> Sbom:
    """List the distributions that are installed beside ``program``, by name."""
    own = Component(
        type="application",
        name=_OWN,
        version=program.version,
        purl=_make_purl(_OWN, program.version),
        properties=(Property(name=CODE, value=program.code),),
    )
    components = sorted(_list_components(), key=lambda each: (_normalise_name(each.name), each.version))
    return Sbom(metadata=SbomMetadata(component=own), components=tuple(components))


def _list_components() -> Iterator[Component]:
    """Yield every distribution but this program; of two that share a name, the one that is imported."""
    seen = {_OWN}
    for distribution in importlib.metadata.distributions():
        metadata = distribution.metadata.json
        name = _fit(metadata.get("name")) or "unnamed"
        if name != "unnamed" and _normalise_name(name) in seen:
            continue
        seen.add(_normalise_name(name))
        version = _fit(metadata.get("version")) or "unknown"
        licence = _find_licence(metadata.get("license_expression"), metadata.get("license"))
        record = distribution.read_text("RECORD")
        yield Component(
            name=name,
            version=version,
            purl=_make_purl(name, version),
            licenses=() if licence is None else (LicenceChoice(license=NamedLicence(name=licence)),),
            properties=()
            if record is None
            else (Property(name=RECORD, value=compute_sha256(record.encode("utf-8", "surrogateescape"))),),
        )


def _find_licence(*candidates: object) -> str | None:
    """Return the first candidate that is the name of a licence, and not its text."""
    for text in candidates:
        if isinstance(text, str) and len(text) < _LICENCE_LENGTH and "\n" not in text and (fitted := _fit(text)):
            return fitted
    return None


def _fit(text: object) -> str:
    """Return the text without control characters, cut to what a component holds."""
    return _UNPRINTABLE.sub(" ", text if isinstance(text, str) else "").strip()[:100]


def _normalise_name(name: str) -> str:
    """Return the name by which indexes know a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _make_purl(name: str, version: str) -> str:
    return f"pkg:pypi/{quote(_normalise_name(name), safe='')[:100]}@{quote(version, safe='')[:150]}"
