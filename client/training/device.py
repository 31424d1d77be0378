"""What a site computes on: its own choice, which no study sees.

``precision: bfloat16`` lets the passes of training compute in bfloat16 where that is safe (``torch.autocast``), which a
graphics processor does several times as fast. Each patient's gradient is clipped, summed and noised in float32 all the
same, so what a study promises is untouched; parameters are float32 as well. Scores are always float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from privacy.errors import TrainingError

_TYPES: Final[dict[str, torch.dtype | None]] = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Device:
    """A device, and the type of training's passes; None is the model's own."""

    device: torch.device
    precision: torch.dtype | None = None

    @classmethod
    def choose(cls, device: str, precision: str = "float32") -> Device:
        """The device ``device``, where ``auto`` is the graphics processor if there is one; ``float32`` or ``bfloat16``.

        Raises:
            TrainingError: no such device here.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            found = torch.device(device)
            torch.zeros(1, device=found)
        except (RuntimeError, AssertionError):
            raise TrainingError(
                f"the device '{device}' is not available here; expected auto, cpu or cuda"
            ) from None
        return cls(found, _TYPES[precision])


CPU: Final = Device(torch.device("cpu"))
