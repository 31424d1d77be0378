"""Define what every mapping has. A mapping leads from a hospital's own data to a study's data contract.

A contract is the study's and public; a mapping is the site's and private. It names where the data are, what columns and
words mean, and which patients are held out. Each kind of contract has its own mapping (``converters.py``).

Rules:

* paths are relative to the mapping file;
* a mapping holds no password: a source names an environment variable or a private file for it;
* which patients are held out does not depend on the order of the records.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from client.data.identifiers import normalise
from privacy.document import Document
from privacy.errors import DataUnavailableError, SiteConfigError
from privacy.fields import Column, Name, Word

_STEPS = 1 << 32


class SplitByFraction(Document):
    """Hold out about this fraction of the patients, by a digest of identifier and ``salt``; more patients move none."""

    by: Literal["fraction"]
    test: float = Field(gt=0, lt=1)
    salt: str = Field(default="", max_length=100)


class SplitByColumn(Document):
    """Hold out the patients whose column has one of the ``test`` words; a word in neither list is a mistake."""

    by: Literal["column"]
    name: Column
    training: tuple[Word, ...] = Field(min_length=1)
    test: tuple[Word, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        if both := sorted(set(self.training) & set(self.test)):
            raise ValueError(f"words for training and for test: {', '.join(both)}")
        return self


class SplitByPatients(Document):
    """Hold out the patients of a text file, one identifier a line."""

    by: Literal["patients"]
    test: Path


Split = Annotated[SplitByFraction | SplitByColumn | SplitByPatients, Field(discriminator="by")]


class DataMapping(Document):
    """What every mapping has.

    Attributes:
        mapping: the version of the format.
        contract: the name of the data contract that it leads to.
        split: which patients are held out for testing.
    """

    mapping: Literal[1]
    contract: Name
    split: Split = SplitByFraction(by="fraction", test=0.2)


class Splitter:
    """Say of each patient whether they are held out."""

    def __init__(self, split: Split, folder: Path) -> None:
        """Prepare the split; ``folder`` is that of the mapping file.

        Raises:
            DataUnavailableError: the list of patients cannot be read.
        """
        self._split = split
        self._held_out, self._met = frozenset[str](), set[str]()
        self.sources: dict[str, str] = {}
        """The SHA-256 of the list of patients, by its name, if there is one."""
        if isinstance(split, SplitByPatients):
            data = _read_bytes(folder / split.test)
            self._held_out = _list_patients(data, folder / split.test)
            self.sources[str(split.test)] = hashlib.sha256(data).hexdigest()

    @property
    def column(self) -> str | None:
        """The column whose words decide, if one does."""
        return self._split.name if isinstance(self._split, SplitByColumn) else None

    def is_held_out(self, patient: str, word: str | None = None) -> bool | None:
        """Return whether ``patient``, in normal form, is held out; None if ``word``, of the column, does not tell.

        Raises:
            SiteConfigError: a column decides, and the source has no words of it.
        """
        split = self._split
        if isinstance(split, SplitByFraction):
            digest = hashlib.sha256(f"{split.salt}\x00{patient}".encode()).digest()
            return int.from_bytes(digest[:4], "big") < split.test * _STEPS
        if isinstance(split, SplitByPatients):
            if patient in self._held_out:
                self._met.add(patient)
            return patient in self._held_out
        if word is None:
            raise SiteConfigError(
                f"split: this source has no column '{split.name}' for each record; split by fraction or by patients"
            )
        return None if word not in (*split.training, *split.test) else word in split.test

    def count_unmet(self) -> int:
        """Count the patients of the list that :meth:`is_held_out` has not been asked about."""
        return len(self._held_out - self._met)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise DataUnavailableError(f"{path}: cannot be read: {cause.strerror}") from None


def _list_patients(data: bytes, path: Path) -> frozenset[str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SiteConfigError(f"{path}: expected a text file in UTF-8, one identifier a line") from None
    if patients := frozenset(normalise(line) for line in text.splitlines() if line.strip()):
        return patients
    raise SiteConfigError(f"{path}: names no patient; write the identifiers of held-out patients, one a line")
