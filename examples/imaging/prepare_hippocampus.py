"""Keep the hippocampus volumes of the Medical Segmentation Decathlon at three hospitals, for ``hippocampus.yaml``.

    python examples/imaging/prepare_hippocampus.py FOLDER OUT

FOLDER has ``images`` and ``labels``, with one ``.nii.gz`` file of each volume in both (Task04_Hippocampus). OUT gets a
folder for each hospital, with the mapping that leads from its data to the study:

============  =======================================================================================================
hospital      its data
============  =======================================================================================================
north         compressed NIfTI files, as they are published
east          NIfTI files whose axes have another order and directions: left, back, head
south         NIfTI files of four axes, of which the second volume is the image
============  =======================================================================================================

Every third volume goes to one hospital; each volume is a person.

Source: Antonelli et al. 2022, The Medical Segmentation Decathlon, Nature Communications 13:4128.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any, Final

import nibabel
import numpy as np

MAPPINGS: Final = Path(__file__).parent / "hospitals"
HOSPITALS: Final = ("north", "east", "south")


def turn(image: Any) -> Any:
    """Turn a volume so that its axes go left, back and head; nothing is interpolated."""
    wanted = nibabel.orientations.axcodes2ornt(("L", "P", "S"))
    return image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), wanted))


def stack(image: Any) -> Any:
    """Put a volume of zeros before an image, along a fourth axis."""
    values = np.asarray(image.dataobj)
    return nibabel.Nifti1Image(np.stack([np.zeros_like(values), values], axis=3), image.affine)


def main() -> None:
    """Read the volumes and write the folders of the hospitals."""
    parser = argparse.ArgumentParser(description="Make three hospitals from the hippocampus volumes.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    for place, hospital in enumerate(HOSPITALS):
        folder = asked.out / hospital
        for kind in ("images", "labels"):
            (folder / kind).mkdir(parents=True)
            for path in sorted((asked.folder / kind).glob("*.nii.gz"))[place :: len(HOSPITALS)]:
                if hospital == "north":
                    shutil.copy(path, folder / kind / path.name)
                    continue
                image = nibabel.load(path)
                made = turn(image) if hospital == "east" else stack(image) if kind == "images" else image
                nibabel.save(made, folder / kind / path.name.removesuffix(".gz"))
        shutil.copy(MAPPINGS / f"hippocampus-{hospital}.yaml", folder / "mapping.yaml")


if __name__ == "__main__":
    main()
