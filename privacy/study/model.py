"""The part ``model`` of the terms: which model, its first values, and which layers are trained and shared.

Rules:

* frozen layers are neither sent nor noised: with privacy, noise grows with the number of trained parameters;
* frozen layers come from public weights (``start``), because layers frozen at random values would be a mistake;
* layers are named as the model names them, or ``head``; whether the model has them is checked when it is built.
"""

from typing import Self

from pydantic import Field, JsonValue, model_validator

from privacy.document import Document
from privacy.fields import LayerName, Name, Positive, Sha256
from privacy.study.data.tensors import TensorName


class Adapters(Document):
    """Low-rank adapters (LoRA, Hu et al. 2022): beside a frozen layer W, ``scale`` B A of rank ``rank`` is trained.

    ``layers`` names linear and convolution layers; empty means all of them that are not trained as a whole.
    """

    rank: int = Field(ge=1, le=1024)
    scale: Positive = 1.0
    layers: tuple[LayerName, ...] = ()


class Model(Document):
    """A model of the catalogue with its options, which the catalogue checks.

    Attributes:
        version: of the model; every site's program must have this one. None: the one of the program that the launch
            names. It is part of the canonical bytes only where it is given.
        inputs: for an input of the model, the tensor of the data that it takes, where their names differ.
        start: SHA-256 of a safetensors file of public weights, which every site has; None starts from random values
            drawn from the digest of the terms.
        weight_names: for layers of the model, the layers of that file whose weights they begin with; for weights of
            another library, whose other tensors are ignored.
        frozen: layers that are not trained.
        trained: the only layers that are trained.
        adapters: trained beside frozen layers; without ``trained`` they are all that is trained.
        personal: layers that each site trains for itself and never shares.
    """

    name: Name
    version: int | None = Field(default=None, ge=1, exclude_if=lambda version: version is None)
    options: dict[str, JsonValue] = Field(default_factory=dict)
    inputs: dict[TensorName, TensorName] = Field(default_factory=dict)
    start: Sha256 | None = None
    weight_names: dict[LayerName, LayerName] = Field(default_factory=dict)
    frozen: tuple[LayerName, ...] = ()
    trained: tuple[LayerName, ...] = ()
    adapters: Adapters | None = None
    personal: tuple[LayerName, ...] = ()

    @property
    def label(self) -> str:
        """The name, with the version where it is given: ``mlp@1``."""
        return self.name if self.version is None else f"{self.name}@{self.version}"

    @model_validator(mode="after")
    def _frozen_from_public_weights(self) -> Self:
        if self.weight_names and self.start is None:
            raise ValueError("weight_names needs start: it names layers of a file of public weights")
        if self.frozen and self.trained:
            raise ValueError("frozen and trained say the same thing twice; keep one of them")
        if self.frozen and self.adapters:
            raise ValueError("with adapters everything is frozen that trained does not name; leave out frozen")
        asked = {"frozen": self.frozen, "trained": self.trained, "adapters": self.adapters}
        named = [name for name, value in asked.items() if value]
        if named and self.start is None:
            raise ValueError(f"{named[0]} needs start: layers that are not trained come from public weights")
        return self
