"""Doctor AI: two layers of gated units over a patient's visits, which predict the codes of the next visit.

::

    embedded  = tanh(W codes + b)                    each visit for itself
    state     = gated units, layer on layer, dropout after each
    outputs   = U state + c                          at visit t: logits of the codes of visit t + 1
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.recurrent import GatedUnits
from models.layers.visit_outputs import require_outputs_each_visit


class DoctorAiOptions(Options):
    """The options of ``doctor-ai``: width of the visits' embedding, widths of the layers, dropout after each layer."""

    embedding: int = Field(default=200, ge=1, le=8192)
    hidden: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(default=(200, 200), min_length=1, max_length=4)
    dropout: float = Field(default=0.5, ge=0, le=0.95)


class DoctorAi(nn.Module):
    """An embedding of visits, layers of gated units, and a linear layer on the state of every visit."""

    def __init__(self, options: DoctorAiOptions, codes: int, labels: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(codes, options.embedding)
        widths = (options.embedding, *options.hidden)
        self.layers = nn.ModuleList(GatedUnits(before, width) for before, width in pairwise(widths))
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(widths[-1], labels)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return at each visit the logits of the next one's codes; (records, visits, labels)."""
        states = torch.tanh(self.embedding(inputs["visits"].float()))  # (records, visits, embedding)
        for layer in self.layers:
            states = self.dropout(layer(states, inputs["present"]))
        outputs: torch.Tensor = self.head(states)
        return outputs


def build(options: DoctorAiOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DoctorAi:
    """Build Doctor AI for visits of ``sizes["codes"]`` codes and ``outputs`` (visits, labels).

    Raises:
        ModelError: the task does not ask for one row of outputs for each visit.
    """
    return DoctorAi(options, sizes["codes"], require_outputs_each_visit("doctor-ai", sizes, outputs))


MODEL: Final = ModelEntry(
    title="Doctor AI, the codes of the next visit",
    domain="records",
    options=DoctorAiOptions,
    build=build,
    tasks=("next-event",),
    inputs=(
        Input("visits", "flag", ("visits", "codes"), "which codes a visit has"),
        Input("present", "flag", ("visits",), "which visits exist: the first ones"),
    ),
    citation="Choi, Bahadori, Schuetz, Stewart and Sun 2016, Doctor AI: Predicting Clinical Events via Recurrent "
    "Neural Networks, Proceedings of Machine Learning for Healthcare, PMLR 56:301-318",
    repository="https://github.com/mp2893/doctorai",
    presets={
        "paper": DoctorAiOptions(),
        "small": DoctorAiOptions(embedding=16, hidden=(16,), dropout=0.0),
    },
    counts=(
        Count("paper", {"visits": 10, "codes": 942}, (10, 942), 859_142),
        Count("small", {"visits": 5, "codes": 12}, (5, 12), 1996),
    ),
    example={"visits": 5, "codes": 12},
    replaced=(
        Replacement(
            paper="a second output, the time until the next visit, and the time since the last one as an input",
            here="codes alone",
            why="not because of privacy: a model always takes the same inputs, so every study would need the times",
        ),
        Replacement(
            paper="binary cross-entropy of each output of a softmax, and the squared weights in the loss",
            here="the loss of the task, of a softmax or of each code, and no penalty",
            why="a penalty belongs to no patient, and noise and clipping already regularise",
        ),
        Replacement(
            paper="Adadelta over batches of patients of similar length",
            here="patients are drawn independently, whatever their length",
            why="only independent draws amplify privacy; padding does not change a state",
        ),
    ),
    figures="On 260,000 patients over 8 years the paper reports a recall of up to 79 % among 30 predicted codes "
    "(Choi et al. 2016).",
)
