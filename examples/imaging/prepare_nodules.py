"""Turn nodules of the lung, cut out of CT scans, into the files of three sites, for ``nodule_sdae.yaml``.

    python examples/imaging/prepare_nodules.py lungx.npz OUTPUT

The file has the arrays image (nodules, 64, 64) of 0..255, in which all but the nodule is 0, malignant (nodules,), 0 or
1, and patient (nodules,). ``OUTPUT`` gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``.

Rules:

* a patient has all of their nodules, at most two, at one site, either for training or for testing;
* patients with a malignant nodule and those without are dealt to the sites alike, in an order drawn once; every fourth
  patient of a site and kind is for testing;
* of what is not 0 the piece nearest to the middle of the image is the nodule: single pixels far from it are not;
* its region is the smallest rectangle that holds it, resized to 28 by 28 pixels as ``prepare_busi.py`` does. Its form
  is width, height, area and mean brightness, each over the largest that such an image can have.

Source: Armato et al. 2016, LUNGx Challenge for computerized lung nodule classification, Journal of Medical Imaging
3:044506; the nodules were outlined by others, who published them as images.
"""

import argparse
from pathlib import Path

import numpy as np
from prepare_busi import resize
from scipy.ndimage import label

SITES = 3
TEST = 4  # of so many patients one is for testing
SEED = 1  # of the order in which patients are dealt to the sites


def find_piece(image: np.ndarray) -> np.ndarray:
    """Find the pixels of an image (height, width) that hang together with the one nearest to its middle."""
    rows, columns = np.nonzero(image)
    nearest = np.argmin((rows - image.shape[0] / 2) ** 2 + (columns - image.shape[1] / 2) ** 2)
    pieces: np.ndarray = label(image > 0, np.ones((3, 3)))[0]
    return pieces == pieces[rows[nearest], columns[nearest]]


def cut_nodule(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut the nodule out of an image (height, width); its region (28, 28), and four numbers of it."""
    piece = find_piece(image)
    rows, columns = (np.flatnonzero(piece.any(axis=axis)) for axis in (1, 0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    region = np.where(piece, image, 0)[window].astype(float)
    height, width = region.shape
    form = [width / image.shape[1], height / image.shape[0], piece.mean(), image[piece].mean() / 255]
    return resize(resize(region).T).T, np.array(form, dtype=np.float32)


def deal(patients: np.ndarray, malignant: np.ndarray) -> list[tuple[list[str], list[str]]]:
    """Deal the patients of nodules, (nodules,), to the sites; who is for training and who for testing at each."""
    draws = np.random.default_rng(SEED)
    ill = np.unique(patients[malignant == 1])
    sites: list[tuple[list[str], list[str]]] = [([], []) for _ in range(SITES)]
    for kind in (np.setdiff1d(patients, ill), ill):
        dealt = draws.permutation(kind)
        for number, (trained, tested) in enumerate(sites):
            own = dealt[number::SITES]
            is_test = np.arange(len(own)) % TEST == TEST - 1
            trained.extend(own[~is_test])
            tested.extend(own[is_test])
    return sites


def main() -> None:
    """Read the file and write the files of the sites."""
    parser = argparse.ArgumentParser(description="Make the files of three sites from nodules of the lung.")
    parser.add_argument("file", type=Path)
    parser.add_argument("output", type=Path)
    asked = parser.parse_args()
    with np.load(asked.file) as arrays:
        images, patients, malignant = arrays["image"], arrays["patient"], arrays["malignant"]
    regions, forms = zip(*map(cut_nodule, images), strict=True)
    records = {
        "patient": patients,
        "region": np.round(regions)[:, None].astype(np.uint8),  # (nodules, 1, 28, 28)
        "form": np.stack(forms),  # (nodules, 4)
        "label": malignant.astype(np.int64),
    }
    for site, parts in enumerate(deal(patients, malignant)):
        folder = asked.output / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, group in zip(("train", "test"), parts, strict=True):
            rows = np.isin(patients, group)
            np.savez(folder / f"{name}.npz", **{key: values[rows] for key, values in records.items()})


if __name__ == "__main__":
    main()
