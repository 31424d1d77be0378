"""Doctor AI: two layers of gated units over a patient's visits, which predict the codes of the next visit.

::

    embedded  = tanh(W codes + b)                    each visit for itself
    state     = gated units, layer on layer, dropout after each
    outputs   = U state + c                          at visit t: logits of the codes of visit t + 1
    outputs  += (r0 + r) seen                        with ``repeats``, r0; seen is 1 for a code of visit t or before

``repeats`` is not in the paper. Most diagnoses come back: that a patient had a code says more of the next visit than
anything else. r0 is public knowledge and costs nothing, r is one number to learn. Without it the layers must learn to
pass every code through, which takes more patients than noise leaves to a small study.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.errors import ModelError
from models.layers.recurrent import GatedUnits
from models.layers.visit_outputs import require_outputs_each_visit


class DoctorAiOptions(Options):
    """The options of ``doctor-ai``.

    Attributes:
        embedding: width of the visits' embedding.
        hidden: widths of the layers.
        dropout: after each layer.
        repeats: what the logit of every code that the patient had before is raised by, to begin with; a learned number
            is added. 0: no code is raised, and nothing is learned.
    """

    embedding: Units = 200
    hidden: tuple[Units, ...] = Field(default=(200, 200), min_length=1, max_length=4)
    dropout: float = Field(default=0.5, ge=0, le=0.95)
    repeats: float = Field(default=0.0, ge=0, le=20)


class DoctorAi(nn.Module):
    """An embedding of visits, layers of gated units, and a linear layer on the state of every visit."""

    def __init__(self, options: DoctorAiOptions, codes: int, labels: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(codes, options.embedding)
        widths = (options.embedding, *options.hidden)
        self.layers = nn.ModuleList(GatedUnits(before, width) for before, width in pairwise(widths))
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(widths[-1], labels)
        self.repeats = nn.Linear(1, 1, bias=False) if options.repeats else None
        self._raised = options.repeats

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return at each visit the logits of the next one's codes; (records, visits, labels)."""
        visits = inputs["visits"].float()
        states = torch.tanh(self.embedding(visits))  # (records, visits, embedding)
        for layer in self.layers:
            states = self.dropout(layer(states, inputs["present"]))
        outputs: torch.Tensor = self.head(states)
        if self.repeats is not None:
            seen = visits.cumsum(1).clamp(max=1)  # (records, visits, codes)
            outputs = outputs + self._raised * seen + self.repeats(seen.unsqueeze(3)).squeeze(3)
        return outputs


def build(options: DoctorAiOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DoctorAi:
    """Build Doctor AI for visits of ``sizes["codes"]`` codes and ``outputs`` (visits, labels).

    Raises:
        ModelError: the task does not ask for one row of outputs for each visit; or ``repeats``, and the outputs are not
            those of the visits' codes.
    """
    labels = require_outputs_each_visit("doctor-ai", sizes, outputs)
    if options.repeats and labels != sizes["codes"]:
        raise ModelError(
            f"'doctor-ai' with repeats predicts the codes of the visits: expected {sizes['codes']} outputs a visit, "
            f"got {labels}; leave repeats out"
        )
    return DoctorAi(options, sizes["codes"], labels)


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
            paper="layers alone learn which codes come back",
            here="the same; with the option repeats, the logit of a code that the patient had before is raised by a "
            "public number, and one more is learned",
            why="to pass every code through the layers takes more patients than noise leaves to a small study",
        ),
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
