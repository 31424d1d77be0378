"""Turn knee radiographs, cut to the joint, into the files of three sites, for ``deep_knee.yaml``.

    python examples/imaging/prepare_knee.py knee_kl.npz OUTPUT

The file has the arrays image (knees, 81, 150) of 0..255 and grade (knees,), the Kellgren-Lawrence grade 0 to 4.
``OUTPUT`` gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``.

Rules:

* a record has two patches, the left half of the image and the right half, mirrored. The file does not tell a left
  knee from a right one, so which patch is the lateral one differs from knee to knee;
* the file does not tell whose a knee is, so every knee counts as a patient. Of a person with two knees each is
  protected for itself only, and figures are somewhat too good;
* sites differ in how ill their patients are: the first has half of the knees with grade 0 and 1 and a sixth of those
  with grade 3 and 4, the last one the reverse;
* every fourth knee of a site and grade is for testing.

Source: Gornale and Patravali 2020, Digital knee X-ray images, Mendeley Data, doi 10.17632/t9ndx37v5h; the grades
are of Kellgren and Lawrence 1957, Radiological assessment of osteo-arthrosis, Annals of the Rheumatic Diseases 16:494.
"""

import argparse
from pathlib import Path

import numpy as np

MANY, SOME, FEW = 3 / 6, 2 / 6, 1 / 6
SHARES = {  # of the knees with each grade, which part goes to which site
    0: (MANY, SOME, FEW),
    1: (MANY, SOME, FEW),
    2: (SOME, SOME, SOME),
    3: (FEW, SOME, MANY),
    4: (FEW, SOME, MANY),
}
TEST = 4  # of so many knees one is for testing
SEED = 1  # of the order in which knees are dealt to the sites


def cut(images: np.ndarray) -> np.ndarray:
    """Cut images, (knees, height, width), into their left and their mirrored right half; (knees, 2, height, half)."""
    half = images.shape[2] // 2
    return np.stack([images[:, :, :half], images[:, :, ::-1][:, :, :half]], axis=1)


def deal(grades: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Deal knees with these grades, (knees,), to the sites; the numbers for training and for testing of each."""
    draws = np.random.default_rng(SEED)
    sites: list[tuple[list[np.ndarray], list[np.ndarray]]] = [([], []) for _ in SHARES[0]]
    for grade, shares in SHARES.items():
        numbers = draws.permutation(np.flatnonzero(grades == grade))
        ends = np.round(np.cumsum(shares)[:-1] * len(numbers)).astype(int)
        for (trained, tested), part in zip(sites, np.split(numbers, ends), strict=True):
            is_test = np.arange(len(part)) % TEST == TEST - 1
            trained.append(part[~is_test])
            tested.append(part[is_test])
    return [(np.sort(np.concatenate(trained)), np.sort(np.concatenate(tested))) for trained, tested in sites]


def main() -> None:
    """Read the file and write the files of the sites."""
    parser = argparse.ArgumentParser(description="Make the files of three sites from knee radiographs.")
    parser.add_argument("file", type=Path)
    parser.add_argument("output", type=Path)
    asked = parser.parse_args()
    with np.load(asked.file) as arrays:
        grades = arrays["grade"]
        records = {
            "patient": np.array([f"knee-{number}" for number in range(len(grades))]),
            "patches": cut(arrays["image"]),
            "grade": grades.astype(np.int64),
        }
    for site, (trained, tested) in enumerate(deal(grades)):
        folder = asked.output / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, numbers in (("train", trained), ("test", tested)):
            np.savez(folder / f"{name}.npz", **{key: values[numbers] for key, values in records.items()})


if __name__ == "__main__":
    main()
