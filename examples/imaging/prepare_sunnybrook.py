"""Turn the cardiac MR slices of the Sunnybrook data into the files of four sites.

    python examples/imaging/prepare_sunnybrook.py sunnybrook_train.npz OUTPUT

The file has the arrays image (slices, 128, 128) of 0..255, mask (slices, 128, 16) with the bits of each row of the
left ventricle's mask, patient (slices,), for example SC-HF-I-01, and slice (slices,): short-axis slices of the
published volumes, cut to their centre. ``OUTPUT`` gets ``hf-i``, ``hf-ni``, ``hyp`` and ``n``, each with
``train.npz`` and ``test.npz``.

The studies are ``ternausnet11.yaml``, ``lv_segmentation.yaml`` and ``md_gru.yaml``.

Rules:

* a site has the people of one diagnosis: heart failure after infarction, heart failure without it, hypertrophy,
  normal. The last two people of each are for testing;
* a site must have at least ten training patients, and four sites would need more people than there are. Therefore
  **every slice counts as a patient**. This shows how such a study runs; it protects slices, and no person;
* slices and masks are halved to 64 pixels; a pixel of which at least half is ventricle belongs to it;
* ``volume`` and ``volume_mask`` are the same at 16 pixels, with an axis of depth 1.

Source: Radau et al. 2009, Evaluation framework for algorithms segmenting short axis cardiac MRI, The MIDAS
Journal.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

TEST = 2  # of each diagnosis so many people are for testing


def halve(pixels: np.ndarray) -> np.ndarray:
    """Average squares of two by two pixels of (slices, height, width)."""
    slices, height, width = pixels.shape
    halved: np.ndarray = pixels.reshape(slices, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    return halved


def main() -> None:
    """Read the file and write the files of the sites."""
    parser = argparse.ArgumentParser(description="Make the files of four sites from the Sunnybrook cardiac data.")
    parser.add_argument("file", type=Path)
    parser.add_argument("output", type=Path)
    asked = parser.parse_args()
    with np.load(asked.file) as arrays:
        people, slices = arrays["patient"], arrays["slice"]
        image, mask = arrays["image"], np.unpackbits(arrays["mask"], axis=-1)
    records: dict[str, Any] = {
        "patient": np.array([f"{person}-{slice_}" for person, slice_ in zip(people, slices, strict=True)]),
        "image": np.round(halve(image))[:, None].astype(np.uint8),  # (slices, 1, 64, 64)
        "mask": halve(mask) >= 0.5,  # (slices, 64, 64)
        "volume": np.round(halve(halve(halve(image))))[:, None, None].astype(np.uint8),  # (slices, 1, 1, 16, 16)
        "volume_mask": halve(halve(halve(mask)))[:, None] >= 0.5,  # (slices, 1, 16, 16)
    }
    diagnoses = np.array([str(person).removeprefix("SC-").rsplit("-", 1)[0].lower() for person in people])
    for diagnosis in np.unique(diagnoses):
        own = np.unique(people[diagnoses == diagnosis])
        folder = asked.output / str(diagnosis)
        folder.mkdir(parents=True, exist_ok=True)
        for name, group in (("train", own[:-TEST]), ("test", own[-TEST:])):
            rows = np.isin(people, group)
            np.savez(folder / f"{name}.npz", **{key: values[rows] for key, values in records.items()})


if __name__ == "__main__":
    main()
