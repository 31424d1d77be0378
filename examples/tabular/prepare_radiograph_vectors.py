"""Turn small chest radiographs into vectors of grey values, for studies of models that give back what they are shown.

    python examples/tabular/prepare_radiograph_vectors.py pneumoniamnist.npz OUT

The file is what MedMNIST publishes: train_images, val_images and test_images, uint8 of 28 x 28 pixels, and labels. OUT
gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``, for ``autoencoder.yaml``,
``variational_autoencoder.yaml`` and ``rbm.yaml``, and with labels for ``projected_mlp.yaml``:

============  ================  ======================================================================
array         shape             content
============  ================  ======================================================================
``features``  (images, 196)     the mean grey values of 14 x 14 squares of four pixels, from 0 to 1
``label``     (images,)         1 for pneumonia, else 0
``patient``   (images,)         the image
============  ================  ======================================================================

Rules:

* the published train and val images are for training, the published test images for testing;
* an image that occurs twice is used once; images are dealt to the sites in turn;
* the published file does not tell whose an image is, so every image counts as a patient. Of a child with several images
  each is protected for itself only.

Source: Yang et al. 2023, MedMNIST v2, Scientific Data 10:41.
"""

import argparse
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

SITES: Final = 3
SQUARES: Final = 14  # a side


def shrink(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Average squares of pixels; (images, 28, 28) from 0 to 255 -> (images, 196) from 0 to 1."""
    side = images.shape[1] // SQUARES
    squares = images.reshape(len(images), SQUARES, side, SQUARES, side).mean((2, 4)) / 255
    return squares.reshape(len(images), -1).astype(np.float32)


def find_first(images: NDArray[np.uint8], before: set[bytes]) -> list[int]:
    """Find the places of the images that are not among those ``before``, which grows by them."""
    found = []
    for place, image in enumerate(images):
        if image.tobytes() not in before:
            before.add(image.tobytes())
            found.append(place)
    return found


def prepare(file: Path, target: Path) -> None:
    """Read the images and write the files of all sites under ``target``."""
    before: set[bytes] = set()
    with np.load(file) as arrays:
        parts = {
            name: [
                np.concatenate([arrays[f"{each}_{what}"] for each in published]) for what in ("images", "labels")
            ]
            for name, published in (("train", ("train", "val")), ("test", ("test",)))
        }
    for name, (every, labels) in parts.items():
        first = find_first(every, before)
        features, patient = shrink(every[first]), np.array([f"{name}-{number}" for number in range(len(first))])
        label = labels[first].reshape(-1).astype(np.int64)
        for site in range(SITES):
            folder = target / f"site-{site + 1}"
            folder.mkdir(parents=True, exist_ok=True)
            records = {"features": features, "label": label, "patient": patient}
            np.savez(folder / f"{name}.npz", **{key: values[site::SITES] for key, values in records.items()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn small chest radiographs into vectors of grey values.")
    parser.add_argument("file", type=Path, help="pneumoniamnist.npz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.file, asked.target)
