"""Refine what a segmentation model outlines by the edges of the images: ``consilium-site predict --refine``.

The masks of :mod:`client.prediction.level_set` are written beside those of the model, as ``refined``. Models of one
foreground are refined; where several classes share edges, moving each by itself would let them overlap.
"""

from dataclasses import replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from client.data.contents import Contents
from client.prediction.level_set import refine_mask
from client.prediction.predict import Predictions
from client.prediction.release_contract import ReleaseContract
from models.tasks.registry import make_task
from models.tasks.segmentation import SegmentationTask
from privacy.errors import ReleaseError
from privacy.study.data.tensors import Numbers

REFINED: Final = "refined"
_LOGIT: Final = 20.0  # of a voxel inside of a refined mask: a probability of 1, as a mask says it


def require_refined_task(contract: ReleaseContract) -> Numbers:
    """Return the image whose edges count: the first input that has a value for every voxel of the mask.

    Raises:
        ReleaseError: the model outlines no single foreground, or no input is as large as its mask.
    """
    task = make_task(contract.task, contract.data)
    if not isinstance(task, SegmentationTask) or not task.flags:
        raise ReleaseError(
            f"--refine: the model's task is {contract.task.kind}; expected a segmentation of one foreground (a mask "
            "of flags); leave the option out"
        )
    mask = contract.data.find_tensor(task.target)
    for tensor in contract.data.list_inputs():
        if isinstance(tensor, Numbers) and mask is not None and tensor.shape[1:] == mask.shape:
            return tensor
    raise ReleaseError("--refine: no input of the contract is an image as large as the mask; leave the option out")


def refine_masks(contract: ReleaseContract, contents: Contents, found: Predictions) -> NDArray[np.float64]:
    """Refine what the model says of the records of ``contents``; (records, *space), 0 or 1.

    Raises:
        ReleaseError: as :func:`require_refined_task`.
    """
    images = contents.inputs[require_refined_task(contract).name]
    return np.stack(
        [
            refine_mask(np.asarray(images[place : place + 1])[0].mean(axis=0, dtype=np.float64), said > 0)
            for place, said in enumerate(found.outputs["class"])
        ]
    ).astype(np.float64)


def say_refined(found: Predictions, masks: NDArray[np.float64]) -> Predictions:
    """Return what a model would have given that says these masks, so that figures of it judge them."""
    logits = torch.from_numpy(np.where(masks > 0, _LOGIT, -_LOGIT).astype(np.float32))
    return replace(found, outputs={"class": masks, "probability": masks}, raw=logits)
