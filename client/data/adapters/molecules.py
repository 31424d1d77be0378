"""Compute fingerprints of compounds from their SMILES, by RDKit (extra ``chemistry``).

RDKit writes what it cannot read to the terminal, with the compound; that is switched off here.
"""

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from privacy.errors import SiteConfigError

_LONGEST: Final = 5000  # characters of a SMILES; a small protein has less


class UnusableMoleculeError(Exception):
    """A compound that gives no fingerprint; the message is a clause without it."""


def require_chemistry() -> None:
    """Refuse to go on without RDKit.

    Raises:
        SiteConfigError: it is not installed.
    """
    try:
        import rdkit  # noqa: F401
    except ImportError:
        raise SiteConfigError(
            "fingerprints need RDKit: install the extra chemistry, pip install 'consilium[chemistry]'"
        ) from None


@lru_cache(maxsize=4096)
def compute_fingerprint(smiles: str, radius: int, bits: int) -> NDArray[np.float32]:
    """Compute the Morgan fingerprint of a compound: 1 for what occurs, (bits,). The array is shared: read it only.

    Raises:
        UnusableMoleculeError: RDKit cannot read the SMILES.
    """
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    if not smiles or len(smiles) > _LONGEST or not smiles.isascii() or any(each.isspace() for each in smiles):
        raise UnusableMoleculeError("is no SMILES of printable ASCII letters")
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or not molecule.GetNumAtoms():
        raise UnusableMoleculeError("is no SMILES that RDKit can read")
    found: NDArray[np.float32] = np.array(
        _make_generator(radius, bits).GetFingerprintAsNumPy(molecule), dtype=np.float32
    )
    found.setflags(write=False)
    return found


@lru_cache(maxsize=8)
def _make_generator(radius: int, bits: int) -> Any:
    from rdkit.Chem import rdFingerprintGenerator

    return rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=bits)
