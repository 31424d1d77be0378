"""Turn the breast ultrasound images of BUSI into the files of three sites.

    python examples/imaging/prepare_busi.py busi64.npz OUTPUT

The file has the arrays image (images, 64, 64) of 0..255, mask (images, 64, 8) with the bits of each row of the
lesion's mask, label (0 normal, 1 benign, 2 malignant) and size (images, 2), the pixels of the original image: the
published images and masks, shrunk. ``OUTPUT`` gets ``site-1`` to ``site-3``, each with ``train.npz`` and
``test.npz``.

The studies are ``unet.yaml``, ``ternausnet16.yaml``, ``linknet34.yaml``, ``image_table.yaml``, ``image_report.yaml``,
``lesion_sdae.yaml``, ``capsule_ultrasound.yaml`` and ``crops_ultrasound.yaml``.

Rules:

* images without a lesion are left out: there is nothing to delineate, and their labels would be told by their
  empty masks;
* an image that is all but the same as an earlier one (a correlation above 0.99) is left out: it is of the same
  lesion, and could be in training and in testing;
* the file does not tell whose an image is, so every image counts as a patient. Of a woman with several images each
  is protected for itself only, and figures are somewhat too good;
* images and masks are halved to 32 pixels; a pixel of which at least half is lesion belongs to it;
* the numbers beside the image are those of an examination, before any tissue is taken: width and height of the
  image and of the lesion, mean brightness of both, each over a largest value chosen here. A sonographer measures a
  lesion; here it is measured on the mask, whose makers may have known the diagnosis, so that figures may be too
  good;
* ``report`` says the same in words: one for each number, by the quarter of its scale, as "the lesion is very wide";
* the region of a lesion is the smallest rectangle that holds its mask, resized to 28 by 28 pixels, each of which is
  the mean of what lies under it. Its form is the width and height that it had, over 1,200 pixels of the original
  image, and width over width and height together;
* the square of a lesion has the longer of both lengths as its side, and the lesion in its middle, both as they were in
  the original. It has 32 by 32 pixels, each the nearest one of the image, and the mask beside it;
* sites differ in how many of their lesions are malignant: the first has half of the benign and a sixth of the
  malignant ones, the last one the reverse. Every fourth image of a site and label is for testing.

Source: Al-Dhabyani, Gomaa, Khaled and Fahmy 2020, Dataset of breast ultrasound images, Data in Brief 28:104863.
"""

import argparse
from pathlib import Path

import numpy as np

SHARES = {  # of the images with each label, which part goes to which site
    1: (3 / 6, 2 / 6, 1 / 6),  # benign
    2: (1 / 6, 2 / 6, 3 / 6),  # malignant
}
LARGEST = (
    1200,
    1200,
    255,
    64,
    64,
    255,
)  # of the features, in their order, in pixels and grey values: 1 as a number
SIDE = 28  # pixels of a lesion's region
SQUARE_SIDE = 32  # pixels of its square
ALIKE = 0.99  # the correlation above which two images count as one
BANDS = 4  # of each number's scale, with a word each
TEST = 4  # of so many images one is for testing
SEED = 1  # of the order in which images are dealt to the sites


def find_distinct(images: np.ndarray) -> np.ndarray:
    """Find the images, (images, height, width), that are unlike all that are kept before; their numbers."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    correlations = flat @ flat.T
    kept = list[int]()
    for number, row in enumerate(correlations):
        if not (row[kept] > ALIKE).any():
            kept.append(number)
    return np.array(kept)


def halve(pixels: np.ndarray) -> np.ndarray:
    """Average squares of two by two pixels of (images, height, width)."""
    images, height, width = pixels.shape
    halved: np.ndarray = pixels.reshape(images, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    return halved


def measure(image: np.ndarray, mask: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Measure images and masks, (images, 64, 64), of originals of ``size`` (images, 2); (images, 6)."""
    lesion_width, lesion_height = mask.any(axis=1).sum(axis=1), mask.any(axis=2).sum(axis=1)
    lesion_brightness = (image * mask).sum(axis=(1, 2)) / mask.sum(axis=(1, 2))
    columns = [*size.T, image.mean(axis=(1, 2)), lesion_width, lesion_height, lesion_brightness]
    features: np.ndarray = np.stack(columns, axis=1) / LARGEST
    return features.astype(np.float32)


def cut_regions(images: np.ndarray, masks: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut lesions out of images (images, 64, 64); their regions (images, 28, 28), and three numbers of each."""
    regions, forms = [], []
    for image, mask, size in zip(images, masks, sizes.astype(float), strict=True):
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        region = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(float)
        regions.append(resize(resize(region).T).T)
        width, height = (length * whole / 64 for length, whole in zip(region.shape[::-1], size, strict=True))
        forms.append([width / LARGEST[0], height / LARGEST[1], width / (width + height)])
    return np.stack(regions), np.array(forms, dtype=np.float32)


def cut_square(image: np.ndarray, mask: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Cut the square around a lesion out of image and mask (64, 64) of an original of ``size`` (2,); (2, 32, 32)."""
    lines = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    pitches = size[::-1] / len(image)  # pixels of the original in a row and in a column
    longest = max((line[-1] + 1 - line[0]) * pitch for line, pitch in zip(lines, pitches, strict=True))
    places = (np.arange(SQUARE_SIDE) + 0.5) / SQUARE_SIDE - 0.5
    rows, columns = (
        np.floor((line[0] + line[-1] + 1) / 2 + places * longest / pitch).astype(int)
        for line, pitch in zip(lines, pitches, strict=True)
    )
    outside = (rows < 0) | (rows >= len(image)), (columns < 0) | (columns >= len(image))
    square = np.stack([image, 255 * mask])[:, np.clip(rows, 0, 63)][:, :, np.clip(columns, 0, 63)]
    square[:, outside[0][:, None] | outside[1]] = 0
    return square


def resize(region: np.ndarray) -> np.ndarray:
    """Resize the first axis to 28 rows, each the mean of the part of the old rows that lies under it."""
    ends = np.linspace(0, len(region), SIDE + 1)
    before = np.concatenate([np.zeros_like(region[:1]), np.cumsum(region, axis=0)])  # sums of the rows before each
    whole = np.minimum(ends.astype(int), len(region) - 1)
    sums = before[whole] + (ends - whole)[:, None] * region[whole]
    resized: np.ndarray = np.diff(sums, axis=0) * SIDE / len(region)
    return resized


def write_report(features: np.ndarray) -> np.ndarray:
    """Say features (images, 6) in words: a number from 1, other words for each column; (images, 6)."""
    bands = np.clip((features * BANDS).astype(int), 0, BANDS - 1)
    words: np.ndarray = (1 + BANDS * np.arange(features.shape[1]) + bands).astype(np.uint8)
    return words


def deal(labels: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Deal images with these labels, (images,), to the sites; the numbers for training and for testing of each."""
    draws = np.random.default_rng(SEED)
    sites: list[tuple[list[np.ndarray], list[np.ndarray]]] = [([], []) for _ in SHARES[1]]
    for label, shares in SHARES.items():
        numbers = draws.permutation(np.flatnonzero(labels == label))
        ends = np.round(np.cumsum(shares)[:-1] * len(numbers)).astype(int)
        for (trained, tested), part in zip(sites, np.split(numbers, ends), strict=True):
            is_test = np.arange(len(part)) % TEST == TEST - 1
            trained.append(part[~is_test])
            tested.append(part[is_test])
    return [(np.sort(np.concatenate(trained)), np.sort(np.concatenate(tested))) for trained, tested in sites]


def main() -> None:
    """Read the file and write the files of the sites."""
    parser = argparse.ArgumentParser(description="Make the files of three sites from the BUSI ultrasound images.")
    parser.add_argument("file", type=Path)
    parser.add_argument("output", type=Path)
    asked = parser.parse_args()
    with np.load(asked.file) as arrays:
        published = {name: arrays[name] for name in arrays}
    lesions = np.flatnonzero(published["label"] > 0)
    lesions = lesions[find_distinct(published["image"][lesions])]
    image = published["image"][lesions]
    mask = np.unpackbits(published["mask"][lesions], axis=-1)  # (images, 64, 64)
    regions, forms = cut_regions(published["image"][lesions], mask, published["size"][lesions])
    measured = measure(image, mask, published["size"][lesions])
    records = {
        "patient": np.array([f"image-{number}" for number in lesions]),
        "image": np.round(halve(image))[:, None].astype(np.uint8),  # (images, 1, 32, 32)
        "mask": halve(mask) >= 0.5,  # (images, 32, 32)
        "square": np.stack([*map(cut_square, image, mask, published["size"][lesions])]),  # (images, 2, 32, 32)
        "region": np.round(regions)[:, None].astype(np.uint8),  # (images, 1, 28, 28)
        "form": forms,  # (images, 3)
        "features": measured,  # (images, 6)
        "report": write_report(measured),  # (images, 6)
        "label": published["label"][lesions] - 1,  # 0 benign, 1 malignant
    }
    for site, (trained, tested) in enumerate(deal(published["label"][lesions])):
        folder = asked.output / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, numbers in (("train", trained), ("test", tested)):
            np.savez(folder / f"{name}.npz", **{key: values[numbers] for key, values in records.items()})


if __name__ == "__main__":
    main()
