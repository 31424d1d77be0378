"""Keep which files are registered for which population and contract."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from privacy.canonical import compute_digest
from privacy.document import Document
from privacy.study import AnyContract, Name, Sha256

if TYPE_CHECKING:
    from client.data.dataset import StudyFiles
    from client.data.objections import Objections


class Registration(Document):
    """Two files that keep one data contract, and the population of their patients.

    The contract is the one that people looked at when they registered the files. A study uses the files only under
    exactly this contract; a contract that only has the same name is another one. ``mapping`` is the mapping file that
    they were converted by, if they were.
    """

    contract: AnyContract
    population: Name
    train: str
    test: str
    train_sha256: str
    test_sha256: str
    public_patients: int
    mapping: str | None = None

    @property
    def data(self) -> str:
        """The digest by which the ledger knows these files."""
        return compute_digest({"train": self.train_sha256, "test": self.test_sha256})

    def to_study_files(self, objections: "Objections | None" = None, weights: Path | None = None) -> "StudyFiles":
        """Return the files in the form that training takes."""
        from client.data.dataset import StudyFiles  # numpy, which most commands do without

        return StudyFiles(
            self.contract,
            Path(self.train),
            Path(self.test),
            self.train_sha256,
            self.test_sha256,
            self.public_patients,
            objections,
            weights,
        )


class Registry(Document):
    """The contents of ``data.json``: the newest registration of each contract, by the contract's digest."""

    registrations: dict[Sha256, Registration] = Field(default_factory=dict)

    def find_exact(self, contract: AnyContract) -> Registration | None:
        """Return the files that people registered under exactly this contract, if they did."""
        return self.registrations.get(contract.digest)

    def find_nearest(self, contract: AnyContract) -> Registration | None:
        """Return the files under exactly this contract; else under one of the same name, to say how it differs."""
        named = (each for each in self.registrations.values() if each.contract.name == contract.name)
        return self.find_exact(contract) or next(named, None)
