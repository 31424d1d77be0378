"""Convert a published Xpresso model of Keras to public weights of the catalogue's ``xpresso``.

    python examples/genomics/convert_xpresso.py human_trainepoch.11-0.426.h5 xpresso.safetensors

The published models (https://github.com/vagarwal87/Xpresso) fit the preset ``paper`` with 10,500 letters, 7,000 of them
before the start of transcription, in the order A, C, G, T, and eight features. It prints the digest that a study names
as ``model.start``.

Needs the extra: pip install 'consilium[genomics]'.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from models.genomics.xpresso import convert_keras_weights
from models.parameters.weights_file import compute_weights_digest


def read_keras_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Read every weight of a model that Keras saved, as ``LAYER/kernel`` and ``LAYER/bias``."""
    found: dict[str, NDArray[Any]] = {}
    with h5py.File(path) as file:

        def take(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                layer, _, weight = name.rpartition("/")
                found[f"{layer.rpartition('/')[2]}/{weight.removesuffix(':0')}"] = np.asarray(item)

        file["model_weights" if "model_weights" in file else "/"].visititems(take)
    return found


def convert(source: Path, target: Path) -> str:
    """Write the weights of ``source`` as ``target``; return the digest."""
    save_file(convert_keras_weights(read_keras_weights(source)), target)
    return compute_weights_digest(target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Convert a published Xpresso model of Keras to public weights.")
    parser.add_argument("source", type=Path, metavar="MODEL.h5", help="as its authors published it")
    parser.add_argument("target", type=Path, metavar="OUT.safetensors", help="the file to write")
    asked = parser.parse_args()
    sys.stdout.write(f"{convert(asked.source, asked.target)}\n")
