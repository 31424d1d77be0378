"""Turn patches of breast histology into the files of three sites.

    python examples/imaging/prepare_idc.py idc50.npz OUTPUT

The file has the arrays image (patches, 50, 50, 3) of 0..255, label (patches,), 1 for invasive ductal carcinoma,
and patient (patches,): patches of the published set of whole slides. ``OUTPUT`` gets ``site-1`` to ``site-3``,
each with ``train.npz`` and ``test.npz``. The studies are ``lung_pattern_cnn.yaml``, ``histology_crops.yaml`` and
``capsule_histology.yaml``.

Rules:

* a patient has all of their patches, at most twelve, at one site, either for training or for testing;
* patients are dealt to the sites in an order drawn once; every fourth patient of a site is for testing;
* patches are halved to 25 pixels, colours first.

Source: Cruz-Roa et al. 2014, Automatic detection of invasive ductal carcinoma in whole slide images with
convolutional neural networks, SPIE Medical Imaging 9041:904103; Janowczyk and Madabhushi 2016, Deep learning for
digital pathology image analysis, Journal of Pathology Informatics 7:29.
"""

import argparse
from pathlib import Path

import numpy as np

SITES = 3
TEST = 4  # of so many patients one is for testing
SEED = 1  # of the order in which patients are dealt to the sites


def halve(patches: np.ndarray) -> np.ndarray:
    """Average squares of two by two pixels of (patches, height, width, 3); (patches, 3, height / 2, width / 2)."""
    count, height, width, colours = patches.shape
    squares = patches.reshape(count, height // 2, 2, width // 2, 2, colours)
    halved: np.ndarray = np.round(squares.mean(axis=(2, 4))).astype(np.uint8)
    return halved.transpose(0, 3, 1, 2)


def main() -> None:
    """Read the file and write the files of the sites."""
    parser = argparse.ArgumentParser(description="Make the files of three sites from patches of breast histology.")
    parser.add_argument("file", type=Path)
    parser.add_argument("output", type=Path)
    asked = parser.parse_args()
    with np.load(asked.file) as arrays:
        records = {"patient": arrays["patient"], "image": halve(arrays["image"]), "label": arrays["label"]}
    patients = np.random.default_rng(SEED).permutation(np.unique(records["patient"]))
    for site in range(SITES):
        own = patients[site::SITES]
        is_test = np.arange(len(own)) % TEST == TEST - 1
        folder = asked.output / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, group in (("train", own[~is_test]), ("test", own[is_test])):
            rows = np.isin(records["patient"], group)
            np.savez(folder / f"{name}.npz", **{key: values[rows] for key, values in records.items()})


if __name__ == "__main__":
    main()
