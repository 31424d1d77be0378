"""Cut frames of two filmed operations into tiles, as the files of three sites.

    python examples/imaging/prepare_surgery.py cholecseg8k_video01.npz endovis2017_parts.npz OUTPUT

The first file has the arrays image (20, 180, 320, 3) of 0..255 and instrument (20, 180, 320) of 0 or 1: frames of one
gall-bladder operation. The second has image (5, 256, 320, 3) and parts (5, 256, 320): frames of one operation by a
robot, in which 0 is background and all else a part of an instrument. ``OUTPUT`` gets ``gall-bladder-1``,
``gall-bladder-2`` and ``robot``, each with ``train.npz`` and ``test.npz``.

The study is ``instruments.yaml``.

Rules:

* the films show two people, who are no study. So that it can be shown at all, **every tile of 64 by 64 pixels counts as
  a patient**: tiles of one frame, and of one film, show the same person, and no person is protected;
* frames of the first film go to its two sites in turn;
* the last frames of a film are for testing, 4 of 20 and 1 of 5: they are later in the same operation, so that a figure
  says nothing of another one;
* tiles are cut from the upper left, and what is left over at the right and below is not used. They are halved to 32
  pixels; a pixel of which at least half is instrument belongs to it.

Sources: Hong et al. 2020, CholecSeg8k; Allan et al. 2019, 2017 Robotic Instrument Segmentation Challenge.
"""

import argparse
from pathlib import Path

import numpy as np

SIDE = 64
TEST = 5  # one frame in so many is for testing


def cut(pixels: np.ndarray) -> np.ndarray:
    """Cut frames, (frames, height, width, ...), into tiles and halve them; (tiles, SIDE / 2, SIDE / 2, ...)."""
    rows, columns = pixels.shape[1] // SIDE, pixels.shape[2] // SIDE
    half, rest = SIDE // 2, pixels.shape[3:]
    whole = pixels[:, : rows * SIDE, : columns * SIDE]
    squares = whole.reshape(len(pixels), rows, half, 2, columns, half, 2, *rest).mean(axis=(3, 6))
    tiles: np.ndarray = np.moveaxis(squares, 3, 2).reshape(-1, half, half, *rest)
    return tiles


def write(folder: Path, film: str, numbers: np.ndarray, image: np.ndarray, mask: np.ndarray, last: int) -> None:
    """Write the frames of one site; those from frame ``last`` on are for testing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, chosen in (("train", numbers < last), ("test", numbers >= last)):
        tiles, outlines = cut(image[chosen]), cut(mask[chosen])
        each = len(tiles) // chosen.sum()
        np.savez(
            folder / f"{name}.npz",
            patient=np.array([f"{film}-{frame}-{tile}" for frame in numbers[chosen] for tile in range(each)]),
            image=np.round(np.moveaxis(tiles, 3, 1)).astype(np.uint8),  # (tiles, 3, 32, 32)
            mask=outlines >= 0.5,  # (tiles, 32, 32)
        )


def main() -> None:
    """Read both films and write the files of the sites."""
    parser = argparse.ArgumentParser(description="Make the files of three sites from frames of two operations.")
    parser.add_argument("gall_bladder", type=Path)
    parser.add_argument("robot", type=Path)
    parser.add_argument("output", type=Path)
    asked = parser.parse_args()
    with np.load(asked.gall_bladder) as arrays:
        image, mask = arrays["image"], arrays["instrument"] > 0
    numbers = np.arange(len(image))
    for site in range(2):
        own = numbers[site::2]
        folder = asked.output / f"gall-bladder-{site + 1}"
        write(folder, "gall-bladder", own, image[own], mask[own], len(image) - len(image) // TEST)
    with np.load(asked.robot) as arrays:
        image, mask = arrays["image"], arrays["parts"] > 0
    write(asked.output / "robot", "robot", np.arange(len(image)), image, mask, len(image) - len(image) // TEST)


if __name__ == "__main__":
    main()
