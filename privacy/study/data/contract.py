"""What every data contract has: a population, the patient, and the named tensors that a record becomes.

A contract is of one kind; ``table.py`` and ``arrays.py`` define the kinds, ``kinds.py`` chooses among them. Everything
in a contract is public and chosen by the study's author.
"""

from pydantic import Field

from privacy.document import Document
from privacy.fields import Column, Name
from privacy.study.data.tensors import Flags, Ids, Numbers

Tensors = tuple[Numbers | Ids | Flags, ...]


class DataContract(Document):
    """What every site's data must be. Of a patient with more than ``records_per_patient`` records, the first are used.

    Attributes:
        name: the population.
        patient: the column, or array, that tells the patient of each record.
        ranges_from: where ranges and vocabularies come from.
    """

    name: Name
    patient: Column
    ranges_from: str = Field(min_length=1, max_length=400)
    records_per_patient: int = Field(default=1, ge=1, le=10_000)

    def list_inputs(self) -> Tensors:
        """List the tensors that models may take."""
        raise NotImplementedError

    def list_targets(self) -> Tensors:
        """List the tensors that tasks may predict."""
        raise NotImplementedError

    def find_tensor(self, name: str) -> Numbers | Ids | Flags | None:
        """Find an input or a target by its name."""
        return next((each for each in (*self.list_inputs(), *self.list_targets()) if each.name == name), None)
