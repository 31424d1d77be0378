"""Choose how much memory a physical batch may take, by what is free where a round begins.

Half of what is free, by the engine's estimate of a record (``privacy/dpsgd/record_axes.py``), which is three to seven
times what a record takes. Memory decides how many records are computed at once, and nothing else: where it runs out
all the same, the engine halves the batch and sums the same lot again.

* On the CPU :data:`~privacy.dpsgd.engine.BATCH_BYTES` at most: a larger batch is no faster there, and the process keeps
  that much for the next step (``client/training/worker.py``).
* On a graphics processor what torch has reserved there and does not use is free as well. After a round torch gives it
  back: the process stays, and a site's other studies may train on the same processor.
"""

import torch

from client.training.free_memory import find_free_bytes
from privacy.dpsgd.engine import BATCH_BYTES


def choose_batch_bytes(device: torch.device) -> int:
    """Choose the bytes of a physical batch on ``device`` now."""
    if device.type == "cuda":
        there, _ = torch.cuda.mem_get_info(device)
        return compute_batch_bytes(there + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    return min(BATCH_BYTES, compute_batch_bytes(find_free_bytes()))


def compute_batch_bytes(free: int | None) -> int:
    """Compute the bytes of a physical batch where ``free`` bytes are free; None: where nobody knows."""
    return BATCH_BYTES if free is None else free // 2


def give_back(device: torch.device) -> None:
    """Give what a round took on a graphics processor back to the others that use it."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
