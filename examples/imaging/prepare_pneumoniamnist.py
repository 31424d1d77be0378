"""Turn the chest radiographs of PneumoniaMNIST into the files of three sites.

    python examples/imaging/prepare_pneumoniamnist.py pneumoniamnist.npz OUTPUT

The file has the arrays train_images, train_labels, val_images, val_labels, test_images and test_labels, as
MedMNIST publishes them. ``OUTPUT`` gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``.

The studies are ``chest_xray_cnn.yaml`` and ``dbn_ensemble.yaml``.

Rules:

* the published train and val images are for training, the published test images for testing;
* an image that occurs twice is used once;
* sites differ in how ill their patients are: the first has half of the healthy and a sixth of the ill children,
  the last one the reverse;
* ``regions`` are the same pixels, cut into squares of 7 by 7, row by row;
* the published file does not tell whose an image is, so every image counts as a patient. Of a child with several
  images each is protected for itself only.

Source: Yang et al. 2023, MedMNIST v2, Scientific Data 10:41; Kermany et al. 2018, Identifying medical diagnoses
and treatable diseases by image-based deep learning, Cell 172(5):1122-1131.
"""

import argparse
from pathlib import Path

import numpy as np

SHARES = {  # of the images with each label, which part goes to which site
    0: (3 / 6, 2 / 6, 1 / 6),  # normal
    1: (1 / 6, 2 / 6, 3 / 6),  # pneumonia
}
REGION = 7  # pixels of a region, in height and width
SEED = 1  # of the order in which images are dealt to the sites


def find_first(images: np.ndarray, before: set[bytes]) -> list[int]:
    """Find the images, (images, height, width), that are not among those before; their numbers.

    ``before`` grows by them.
    """
    found = []
    for number, image in enumerate(images):
        if image.tobytes() not in before:
            before.add(image.tobytes())
            found.append(number)
    return found


def cut(images: np.ndarray) -> np.ndarray:
    """Cut images (images, height, width) into regions; (images, regions, pixels)."""
    count, height, width = images.shape
    squares = images.reshape(count, height // REGION, REGION, width // REGION, REGION)
    regions: np.ndarray = squares.transpose(0, 1, 3, 2, 4).reshape(count, -1, REGION**2)
    return regions


def deal(labels: np.ndarray) -> list[np.ndarray]:
    """Deal images with these labels, (images,), to the sites; the numbers of each site's images."""
    draws = np.random.default_rng(SEED)
    sites: list[list[np.ndarray]] = [[] for _ in SHARES[0]]
    for label, shares in SHARES.items():
        numbers = draws.permutation(np.flatnonzero(labels == label))
        ends = np.round(np.cumsum(shares)[:-1] * len(numbers)).astype(int)
        for site, part in zip(sites, np.split(numbers, ends), strict=True):
            site.append(part)
    return [np.sort(np.concatenate(parts)) for parts in sites]


def main() -> None:
    """Read the file and write the files of the sites."""
    parser = argparse.ArgumentParser(description="Make the files of three sites from PneumoniaMNIST.")
    parser.add_argument("file", type=Path)
    parser.add_argument("output", type=Path)
    asked = parser.parse_args()
    with np.load(asked.file) as arrays:
        published = {name: arrays[name] for name in arrays}
    before: set[bytes] = set()
    for name, parts in (("train", ("train", "val")), ("test", ("test",))):
        images = np.concatenate([published[f"{part}_images"] for part in parts])  # (images, 28, 28)
        labels = np.concatenate([published[f"{part}_labels"] for part in parts])[:, 0]
        first = find_first(images, before)
        images, labels = images[first], labels[first]
        for site, numbers in enumerate(deal(labels)):
            folder = asked.output / f"site-{site + 1}"
            folder.mkdir(parents=True, exist_ok=True)
            np.savez(
                folder / f"{name}.npz",
                patient=np.array([f"{name}-{number}" for number in numbers]),
                image=images[numbers][:, None],  # (images, 1, 28, 28)
                regions=cut(images[numbers]),  # (images, 16, 49)
                label=labels[numbers],
            )


if __name__ == "__main__":
    main()
