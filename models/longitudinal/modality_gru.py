"""Gated units for each modality, which was measured at times of its own, and one linear layer on all their states.

Variables that are measured together, such as the values of one fluid or the scores of one test, are a modality. Its
steps are the visits that measured any of its variables: other visits leave its state as it was, so every modality has a
series of its own length, from one value to many. What a patient does not have has the state zero, and a flag says so::

    state of m = gated units over the visits that measured modality m, the last state
    outputs    = W [state of 1, ..., state of M, which modalities there are] + b

Rules:

* the data's variables are those of the first modality, then those of the second one, and so on;
* a variable that a visit of its modality lacks counts as the middle of its range.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.errors import ModelError
from models.layers.heads import count_outputs, shape_outputs
from models.layers.recurrent import GatedUnits, take_last_state


class ModalityGruOptions(Options):
    """The options of ``modality-gru``.

    Attributes:
        modalities: how many variables each modality has, in the order of the data; the paper's are cerebrospinal
            fluid, cognition, hippocampal volume and who the patient is.
        width: units of each modality.
        dropout: in training, of the states.
    """

    modalities: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = Field(
        default=(5, 2, 3, 4), min_length=1, max_length=32
    )
    width: int = Field(default=8, ge=1, le=4096)
    dropout: float = Field(default=0.0, ge=0, le=0.95)


class ModalityGru(nn.Module):
    """Gated units for each modality, and a linear layer on their last states and on what there is."""

    def __init__(self, options: ModalityGruOptions, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.units = nn.ModuleList(GatedUnits(variables, options.width) for variables in options.modalities)
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(len(options.modalities) * (options.width + 1), count_outputs(outputs))
        self._modalities = list(options.modalities)
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs from all modalities; (records, *outputs)."""
        observed = inputs["observed"] & inputs["present"].unsqueeze(2)  # (records, time, variables)
        values = inputs["values"].masked_fill(~observed, 0.0)
        states, there = [], []
        parts = zip(
            self.units, *(torch.split(each, self._modalities, dim=2) for each in (values, observed)), strict=True
        )
        for units, series, measured in parts:
            steps = measured.any(2)  # (records, time), of this modality
            states.append(take_last_state(units(series, steps)))
            there.append(steps.any(1))
        flags = torch.stack(there, dim=1).to(values)  # (records, modalities)
        joined = torch.cat([self.dropout(torch.cat(states, dim=1)), flags], dim=1)
        return shape_outputs(self.head(joined), self._outputs)


def build(options: ModalityGruOptions, sizes: Sizes, outputs: tuple[int, ...]) -> ModalityGru:
    """Build the units of all modalities.

    Raises:
        ModelError: the modalities do not have all variables of the data.
    """
    if sum(options.modalities) != sizes["variables"]:
        raise ModelError(
            f"model.options.modalities: they have {sum(options.modalities)} variables, the data {sizes['variables']}; "
            "write for each modality how many of the variables it has, in their order"
        )
    return ModalityGru(options, outputs)


MODEL: Final = ModelEntry(
    title="Gated units for each modality",
    domain="longitudinal",
    options=ModalityGruOptions,
    build=build,
    tasks=("binary", "multiclass", "ordinal", "multilabel", "regression", "survival"),
    inputs=(
        Input(
            "values",
            "number",
            ("time", "variables"),
            "measurements, modality after modality, 0 where missing; the middle of a range is 0",
        ),
        Input("observed", "flag", ("time", "variables"), "which variables were measured at a visit"),
        Input("present", "flag", ("time",), "which visits exist: the first ones"),
    ),
    citation="Lee, Kang, Nho, Sohn and Kim 2019, MildInt: Deep Learning-Based Multimodal Longitudinal Data Integration "
    "Framework, Frontiers in Genetics 10:617",
    repository="https://github.com/goeastagent/MildInt",
    presets={
        "paper": ModalityGruOptions(),
        "narrow": ModalityGruOptions(width=4),
        "small": ModalityGruOptions(modalities=(2, 1, 1), width=6),
    },
    # units with a second bias, as those of torch, would have 24 more for each modality of 8 units, 12 of 4 units
    counts=(
        Count("paper", {"time": 10, "variables": 14}, (), 1_237),
        Count("narrow", {"time": 10, "variables": 14}, (), 429),
        Count("small", {"time": 6, "variables": 4}, (), 472),
    ),
    example={"time": 6, "variables": 4},
    replaced=(
        Replacement(
            paper="each modality's units are trained with an output of their own, then a logistic regression on the "
            "states of patients who have all modalities",
            here="all at once, from all patients; what a patient lacks is zero and flagged",
            why="a patient's gradient over all modalities is clipped once, instead of paying for each; nobody is left "
            "out",
        ),
        Replacement(
            paper="an absolute penalty on the logistic regression's weights, chosen by cross-validation",
            here="the study's weight decay",
            why="choosing among penalties on the patients would have to be paid; a penalty belongs to no patient",
        ),
        Replacement(
            paper="values scaled by the training patients' means and ranges",
            here="by the public ranges of the contract",
            why="means and ranges of patients are private",
        ),
    ),
    figures="Conversion to Alzheimer's disease from all four modalities: accuracy 81 %, AUC 0.86; from the best single "
    "one 75 % and 0.83 (Lee et al. 2019, Predicting Alzheimer's disease progression using multi-modal deep learning "
    "approach, Scientific Reports 9:1952).",
)
