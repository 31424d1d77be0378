r"""Turn letters into tensors: sequences of DNA, RNA and proteins, and compounds as SMILES.

============  =========================================================================  =====================
alphabet      letters, in the order of their numbers                                     may also stand there
============  =========================================================================  =====================
``dna``       ACGT; U counts as T                                                        IUPAC's codes, - and .
``rna``       ACGU; T counts as U                                                        the same
``protein``   ABCDEFGHIKLMNOPQRSTUVWXYZ: amino acids, B X Z for several, O U rare ones   J, - and *
``smiles``    #%()+-./0123456789=@ABCDEFGHIKLMNOPRSTUVWYZ[\]abcdefghilmnorstuy            any printable ASCII
============  =========================================================================  =====================

Sources: IUPAC-IUB 1985, Nucleic Acids Research 13(9):3021 (codes for several bases); IUPAC-IUB 1984 (amino acids); the
order of proteins and SMILES is the alphabet's. Numbers begin with 1; 0 is padding, behind the letters or before them.
"""

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from privacy.document import Document
from privacy.study.data.tensors import Ids, Numbers, TensorName

Alphabet = Literal["dna", "rna", "protein", "smiles"]

ALPHABETS: Final[dict[Alphabet, str]] = {
    "dna": "ACGT",
    "rna": "ACGU",
    "protein": "ABCDEFGHIKLMNOPQRSTUVWXYZ",
    "smiles": "#%()+-./0123456789=@ABCDEFGHIKLMNOPRSTUVWYZ[\\]abcdefghilmnorstuy",
}

BASES: Final = {
    "R": "AG",
    "Y": "CT",
    "S": "CG",
    "W": "AT",
    "K": "GT",
    "M": "AC",
    "B": "CGT",
    "D": "AGT",
    "H": "ACT",
    "V": "ACG",
    "N": "ACGT",
}
"""IUPAC's codes for one of several bases, written with T."""


class Letters(Document):
    """A sequence of letters of one public length.

    Attributes:
        name: of the tensor.
        length: longer sequences are cut to it, shorter ones are padded.
        encoded: ``one-hot`` gives numbers (letters, length), ``ids`` gives (length,).
        keep: the part of a longer sequence that is kept. Padding stands at the other end, for ``middle`` at both.
        lower_case: what a small letter means: its capital, or an unknown letter (a masked repeat). Not for SMILES.
        unknown: what becomes of a letter outside the alphabet: ``zero`` as padding, ``own`` a number or a row of its
            own, ``shares`` an equal part for each base that it may be (one-hot DNA and RNA), ``refuse`` leaves the
            record out.
    """

    kind: Literal["letters"] = "letters"
    name: TensorName
    alphabet: Alphabet
    length: int = Field(ge=1, le=1_000_000)
    encoded: Literal["one-hot", "ids"]
    keep: Literal["start", "middle", "end"] = "start"
    lower_case: Literal["capital", "unknown"] = "capital"
    unknown: Literal["zero", "own", "shares", "refuse"] = "zero"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        bases = self.alphabet in ("dna", "rna")
        if self.unknown == "shares" and not (bases and self.encoded == "one-hot"):
            raise ValueError("unknown: shares is for one-hot DNA and RNA only; choose zero, own or refuse")
        if self.alphabet == "smiles" and self.lower_case == "unknown":
            raise ValueError("lower_case: a small letter of a SMILES is an aromatic atom; leave lower_case out")
        self.make_tensor()  # of a usable size
        return self

    @property
    def letters(self) -> str:
        """The letters, in the order of their numbers from 1."""
        return ALPHABETS[self.alphabet]

    def make_tensor(self) -> Numbers | Ids:
        """Make the tensor that a sequence becomes."""
        rows = len(self.letters) + (self.unknown == "own")
        if self.encoded == "ids":
            return Ids(type="id", name=self.name, shape=(self.length,), values=1 + rows)
        return Numbers(type="number", name=self.name, shape=(rows, self.length), low=0, high=1, scaled="none")
