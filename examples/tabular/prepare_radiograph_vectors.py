"""Turn small chest radiographs into vectors of grey values, for studies of models that give back what they are shown.

    python examples/tabular/prepare_radiograph_vectors.py pneumoniamnist.npz OUT

The file is what MedMNIST publishes: train_images, val_images and test_images, uint8 of 28 x 28 pixels. OUT gets
``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``, for ``autoencoder.yaml``,
``variational_autoencoder.yaml`` and ``rbm.yaml``:

============  ================  ======================================================================
array         shape             content
============  ================  ======================================================================
``features``  (images, 196)     the mean grey values of 14 x 14 squares of four pixels, from 0 to 1
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


def keep_first(images: NDArray[np.uint8], before: set[bytes]) -> NDArray[np.uint8]:
    """Keep the images that are not among those ``before``, which grows by them."""
    kept = []
    for image in images:
        if image.tobytes() not in before:
            before.add(image.tobytes())
            kept.append(image)
    return np.stack(kept)


def prepare(file: Path, target: Path) -> None:
    """Read the images and write the files of all sites under ``target``."""
    before: set[bytes] = set()
    with np.load(file) as arrays:
        parts = {
            "train": keep_first(np.concatenate([arrays["train_images"], arrays["val_images"]]), before),
            "test": keep_first(arrays["test_images"], before),
        }
    for name, images in parts.items():
        features, patient = shrink(images), np.array([f"{name}-{number}" for number in range(len(images))])
        for site in range(SITES):
            folder = target / f"site-{site + 1}"
            folder.mkdir(parents=True, exist_ok=True)
            np.savez(folder / f"{name}.npz", features=features[site::SITES], patient=patient[site::SITES])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn small chest radiographs into vectors of grey values.")
    parser.add_argument("file", type=Path, help="pneumoniamnist.npz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.file, asked.target)
