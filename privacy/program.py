"""Say which program this is: its version, and a digest of the code that is installed.

Rules:

* only installed code runs in a study. A launch names the program that it is for, a site says which one it runs when it
  joins, and a site whose program differs refuses, before anything is set aside;
* the digest covers every Python file of ours that a site runs, with its path: one changed line changes it;
* it is a claim: a site that wants to lie about its code can. It finds old versions and patched installations, not
  attackers.
"""

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from privacy.document import Document
from privacy.fields import Digest

PACKAGES: Final = ("client", "models", "privacy")
"""What a site runs. What the coordinator runs besides is not compared."""


class Program(Document):
    """A version of Consilium, and the SHA-256 of its code as it is installed."""

    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z.+!_-]{1,40}$")]
    code: Digest

    @property
    def short(self) -> str:
        """The version and the first digits of the digest, for people."""
        return f"{self.version} ({self.code[:12]})"


@cache
def read_program() -> Program:
    """Read which program runs here."""
    try:
        number = version("consilium")
    except PackageNotFoundError:
        number = "unknown"
    return Program(version=number, code=compute_code_digest(Path(__file__).parents[1]))


def compute_code_digest(root: Path) -> str:
    """Compute the digest of the code under ``root``: of every file's path and SHA-256, in the order of the paths."""
    whole = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            whole.update(f"{path.relative_to(root).as_posix()}\0{digest}\n".encode())
    return whole.hexdigest()
