"""Models of the catalogue for a table's numbers and a binary label."""

from typing import Any

from torch import nn

from models.catalogue import find_model


def build_for_table(name: str, options: dict[str, Any], features: int) -> nn.Module:
    """Build the model ``name`` for ``features`` numbers a record; it gives one logit."""
    entry = find_model(name)
    return entry.build(entry.check_options(name, options), {"features": features}, ())
