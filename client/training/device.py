"""Choose what a site computes on; no study sees this choice.

With ``precision: bfloat16`` the passes of training compute in bfloat16 where that is safe (``torch.autocast``),
which a graphics processor does several times as fast. Each patient's gradient is still clipped, summed and noised
in float32, so a study's promise does not change. Parameters are float32 as well. Scores are always float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from privacy.errors import TrainingError

_TYPES: Final[dict[str, torch.dtype | None]] = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Device:
    """A device, and the number type of training's passes; None is the model's own."""

    device: torch.device
    precision: torch.dtype | None = None

    @classmethod
    def choose(cls, device: str, precision: str = "float32") -> Device:
        """Choose the device and the precision, ``float32`` or ``bfloat16``.

        ``auto`` is the graphics processor if there is one, else the CPU.

        Raises:
            TrainingError: there is no such device here.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            found = torch.device(device)
            torch.zeros(1, device=found)  # an unusable device fails now, not in the first round
        except (RuntimeError, AssertionError):
            raise TrainingError(
                f"the device '{device}' is not available here; expected auto, cpu or cuda"
            ) from None
        return cls(found, _TYPES[precision])


CPU: Final = Device(torch.device("cpu"))
