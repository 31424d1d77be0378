"""DeepCare: a memory of illness over admissions, which time lets fade and interventions moderate.

::

    admission      x_t: mean of the vectors of its diagnoses,  p_t: of its interventions
    enter          i = sigmoid(W_i x_t + U_i h + b_i) / m_t            m_t: 1, or 2 for a planned admission
    keep           f = sigmoid(W_f x_t + U_f h + P_f p_(t-1) + Z q_t + b_f)
    leave          o = sigmoid(W_o x_t + U_o h + P_o p_t + b_o)
    memory         c = f c + i tanh(W_c x_t + U_c h + b_c),  h_t = o tanh(c)
    time           q_t = [d / 60, (d / 180)^2, (d / 365)^3]            d: days since the admission before

``head`` says how the states become outputs:

===============  ===========================================================================================
``windows``      means of the states of the last 12 months, of the last 24 and of all, with the weights
                 1 / (m_t + log(1 + days to the last admission / 30)), then a layer of sigmoids: the paper's
                 readmission
``last``         the last state, a linear layer and another one: the paper's next diagnoses
===============  ===========================================================================================

Rule: code 0 is none. An admission without a diagnosis, or without an intervention, has the vector 0 for it.
"""

from collections.abc import Mapping
from typing import Final, Literal

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.heads import count_outputs, shape_outputs
from models.layers.recurrent import take_last_state
from models.layers.sigmoid import LinearBeforeSigmoid

Pooling = Literal["mean", "sum", "max"]

_YEAR_D: Final = 365.0
_WINDOWS_D: Final = (365.0, 730.0, float("inf"))
_MONTH_D: Final = 30.0


class DeepCareOptions(Options):
    """The options of ``deep-care``.

    Attributes:
        embedding: numbers for each diagnosis and intervention.
        units: of the memory.
        head: ``windows`` or ``last``.
        hidden: units of the layer before the outputs.
        pooling: of an admission's codes: their mean, their sum over the root of their number, or the largest of each
            coordinate.
        code_dropout: of codes' vectors, in training.
        state_dropout: of what goes into the head, in training.
    """

    embedding: int = Field(default=10, ge=1, le=4096)
    units: int = Field(default=20, ge=1, le=4096)
    head: Literal["windows", "last"] = "windows"
    hidden: int = Field(default=20, ge=1, le=4096)
    pooling: Pooling = "mean"
    code_dropout: float = Field(default=0.2, ge=0, le=0.95)
    state_dropout: float = Field(default=0.5, ge=0, le=0.95)


class CareMemory(nn.Module):
    """The memory: LSTM with gates that see time, interventions and how a patient was admitted.

    Args:
        width: numbers of an admission's diagnoses, and of its interventions.
        units: how many.
    """

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.input = LinearBeforeSigmoid(width, 4 * units)  # enter, keep, leave, new
        self.state = nn.Linear(units, 4 * units, bias=False)
        self.keep_after = nn.Linear(width, units, bias=False)
        self.leave_with = nn.Linear(width, units, bias=False)
        self.elapsed = nn.Linear(3, units, bias=False)
        self._units = units

    def forward(
        self,
        diagnoses: torch.Tensor,
        interventions: torch.Tensor,
        days: torch.Tensor,
        method: torch.Tensor,
        present: torch.Tensor,
    ) -> torch.Tensor:
        """Return the state after every admission; (records, visits, units).

        Args:
            diagnoses: (records, visits, width).
            interventions: the same.
            days: since the admission before, (records, visits).
            method: m, (records, visits).
            present: which admissions there are, (records, visits).
        """
        before = torch.cat([torch.zeros_like(interventions[:, :1]), interventions[:, :-1]], dim=1)
        time = torch.stack([days / 60, (days / 180) ** 2, (days / _YEAR_D) ** 3], dim=2)
        entering = self.input(diagnoses).unbind(1)
        keeping = (self.keep_after(before) + self.elapsed(time)).unbind(1)
        leaving = self.leave_with(interventions).unbind(1)
        states = []
        state = memory = diagnoses.new_zeros(diagnoses.shape[0], self._units)
        for step, here in enumerate(present.unsqueeze(2).unbind(1)):
            enter, keep, leave, new = (entering[step] + self.state(state)).chunk(4, dim=1)
            enter = torch.sigmoid(enter) / method[:, step, None]
            now = torch.sigmoid(keep + keeping[step]) * memory + enter * torch.tanh(new)
            memory = torch.where(here, now, memory)
            state = torch.where(here, torch.sigmoid(leave + leaving[step]) * torch.tanh(now), state)
            states.append(state)
        return torch.stack(states, dim=1)


class DeepCare(nn.Module):
    """Vectors of codes, the memory, and a head."""

    def __init__(self, options: DeepCareOptions, sizes: Sizes, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.diagnoses = nn.Embedding(sizes["diagnosis_codes"], options.embedding, padding_idx=0)
        self.interventions = nn.Embedding(sizes["intervention_codes"], options.embedding, padding_idx=0)
        self.memory = CareMemory(options.embedding, options.units)
        if options.head == "windows":
            self.hidden: nn.Linear = LinearBeforeSigmoid(len(_WINDOWS_D) * options.units, options.hidden)
        else:
            self.hidden = nn.Linear(options.units, options.hidden)
        self.head = nn.Linear(options.hidden, count_outputs(outputs))
        self.code_dropout = nn.Dropout(options.code_dropout)
        self.state_dropout = nn.Dropout(options.state_dropout)
        self._options, self._outputs = options, outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs; (records, *outputs)."""
        present, days = inputs["present"], _YEAR_D * inputs["gaps"]
        diagnoses, interventions = (
            pool_codes(self.code_dropout(table(inputs[name])), inputs[name] != 0, self._options.pooling)
            for name, table in (("diagnoses", self.diagnoses), ("interventions", self.interventions))
        )
        method = 1.0 + inputs["planned"]
        states = self.memory(diagnoses, interventions, days, method, present)
        if self._options.head == "windows":
            found = torch.sigmoid(self.hidden(self.state_dropout(pool_windows(states, days, method, present))))
        else:
            found = self.hidden(self.state_dropout(take_last_state(states)))
        return shape_outputs(self.head(found), self._outputs)


def pool_codes(vectors: torch.Tensor, there: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Pool the vectors of the codes that are there, (..., codes, width), by ``there``, (..., codes); (..., width)."""
    count = there.sum(-1, keepdim=True).clamp(min=1)
    if pooling == "max":
        lowest = torch.finfo(vectors.dtype).min
        largest = vectors.masked_fill(~there.unsqueeze(-1), lowest).amax(-2)
        return largest.masked_fill(~there.any(-1, keepdim=True), 0.0)
    total = vectors.masked_fill(~there.unsqueeze(-1), 0.0).sum(-2)
    return total / (count if pooling == "mean" else count.sqrt())


def pool_windows(
    states: torch.Tensor, days: torch.Tensor, method: torch.Tensor, present: torch.Tensor
) -> torch.Tensor:
    """Return the weighted means of the states of the last 12 and 24 months and of all; (records, 3 * units).

    Args:
        states: (records, visits, units).
        days: since the admission before, (records, visits).
        method: m, (records, visits).
        present: the first ones, (records, visits).
    """
    passed = days.masked_fill(~present, 0.0).cumsum(1)  # days since the first admission
    ago = passed[:, -1:] - passed  # (records, visits), before the last one
    weights = (1 / (method + torch.log1p(ago / _MONTH_D))).masked_fill(~present, 0.0)
    means = []
    for window in _WINDOWS_D:
        own = weights.masked_fill(ago > window, 0.0).unsqueeze(2)
        means.append((own * states).sum(1) / own.sum(1).clamp(min=1e-6))
    return torch.cat(means, dim=1)


def build(options: DeepCareOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DeepCare:
    """Build DeepCare for vocabularies of diagnoses and interventions, each with code 0, which is none."""
    return DeepCare(options, sizes, outputs)


_PAPER: Final = {
    "visits": 30, "diagnoses_each": 20, "interventions_each": 20, "diagnosis_codes": 243, "intervention_codes": 1126,
}  # fmt: skip
_EXAMPLE: Final = {
    "visits": 5, "diagnoses_each": 4, "interventions_each": 3, "diagnosis_codes": 20, "intervention_codes": 12,
}  # fmt: skip

MODEL: Final = ModelEntry(
    title="DeepCare, a memory of illness that time and interventions change",
    domain="records",
    options=DeepCareOptions,
    build=build,
    tasks=("binary", "multiclass", "multilabel"),
    inputs=(
        Input("diagnoses", "id", ("visits", "diagnoses_each"), "of each admission, 0 for none", "diagnosis_codes"),
        Input(
            "interventions",
            "id",
            ("visits", "interventions_each"),
            "procedures and drugs of each admission, 0 for none",
            "intervention_codes",
        ),
        Input("gaps", "number", ("visits",), "time since the admission before, in years; a year at most"),
        Input("planned", "flag", ("visits",), "which admissions were planned, no emergencies"),
        Input("present", "flag", ("visits",), "which admissions exist: the first ones"),
    ),
    citation="Pham, Tran, Phung and Venkatesh 2017, Predicting healthcare trajectories from medical records: A deep "
    "learning approach, Journal of Biomedical Informatics 69:218-229",
    presets={
        "paper": DeepCareOptions(),
        "next-diagnoses": DeepCareOptions(embedding=30, units=40, head="last", hidden=30),
        "small": DeepCareOptions(embedding=8, units=8, hidden=8, code_dropout=0.0, state_dropout=0.0),
    },
    # vectors 13,690, memory 2,940, head 1,262; and 41,070, 13,880, 8,763
    counts=(
        Count("paper", _PAPER, (2,), 17_892),
        Count("next-diagnoses", _PAPER, (243,), 63_713),
        Count("small", _EXAMPLE, (), 1_161),
    ),
    example=_EXAMPLE,
    replaced=(
        Replacement(
            paper="time without a bound, to the third power",
            here="a gap of a year at most, by the range of the contract",
            why="one gap of ten years would be a thousand times as large as one of a year, and would be all that is "
            "left of a clipped gradient",
        ),
        Replacement(
            paper="absolute and squared weights in the loss",
            here="no penalty",
            why="a penalty belongs to no patient; noise and clipping already regularise",
        ),
        Replacement(
            paper="a record is cut at an admission drawn anew in every epoch",
            here="records as the data have them; several of a patient are clipped together",
            why="not because of privacy: whoever makes the file decides what is predicted from what",
        ),
        Replacement(
            paper="one table for diagnoses and interventions; codes left out at random",
            here="a table for each; numbers of their vectors left out at random",
            why="not because of privacy: the codes of both are of different vocabularies",
        ),
    ),
)
