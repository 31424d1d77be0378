"""Dynamic-DeepHit: survival with competing risks from repeated measurements, from one visit to the next.

::

    history    = every visit but the last one
    state_t    = two layers of long short-term memory over the history
    context    = sum_t weight_t state_t              weights: a softmax of a small network of state_t and the last visit
    shared     = elu(W [last visit, context])
    of cause k = two layers on ``shared``, for each cause
    outputs    = one linear layer on all causes together: logits of a joint softmax over causes and intervals

Its own loss is the squared error of the next visit's measurements, which the state predicts at every visit of the
history: the mean over what was measured there.

Rules:

* time counts from the last visit that the model is given, so that a patient is known to live then;
* a visit's own time is the smallest gap: since the visit before, because a visit measures something;
* without history the context is zero.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.heads import count_intervals, count_outputs, shape_outputs
from models.layers.masked_softmax import masked_softmax
from models.layers.recurrent import LongShortTermMemory


class DynamicDeepHitOptions(Options):
    """The options of ``dynamic-deephit``.

    Attributes:
        causes: as many as the task has.
        memory: units of each layer over the visits.
        hidden: width of all other layers.
        dropout: in training, after each of these.
        next_value_loss: the weight of the own loss.
    """

    causes: int = Field(default=2, ge=1, le=10)
    memory: int = Field(default=100, ge=1, le=4096)
    hidden: int = Field(default=100, ge=1, le=4096)
    dropout: float = Field(default=0.4, ge=0, le=0.95)
    next_value_loss: float = Field(default=1.0, gt=0, le=1000)


class DynamicDeepHit(nn.Module):
    """Memory over the history, attention, a network for each cause, and a joint linear layer."""

    def __init__(self, options: DynamicDeepHitOptions, variables: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        memory, hidden = options.memory, options.hidden
        self.lower = LongShortTermMemory(1 + 2 * variables, memory)
        self.upper = LongShortTermMemory(memory, memory)
        self.attention = nn.Sequential(
            nn.Linear(2 * memory + 2 * variables, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False)
        )
        self.next_value = nn.Linear(memory, 1 + variables)
        self.shared = _make_layer(variables + 2 * memory, hidden, options.dropout)
        self.causes = nn.ModuleList(
            nn.Sequential(
                _make_layer(hidden, hidden, options.dropout), _make_layer(hidden, hidden, options.dropout)
            )
            for _ in range(options.causes)
        )
        self.head = nn.Linear(options.causes * hidden, count_outputs(outputs))
        self._next_value_loss = options.next_value_loss
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``outputs``, (records, causes * intervals + 1), and ``own_loss`` of the next values, (records,)."""
        read = self._read(inputs)
        context = (read.weights * read.states).sum(1)  # (records, 2 * memory)

        shared = self.shared(torch.cat([take_visit(read.values, read.last), context], dim=1))
        of_causes = torch.cat([network(shared) for network in self.causes], dim=1)
        measured = torch.cat([inputs["present"].unsqueeze(2), read.observed], dim=2)
        next_value_loss = compute_next_value_loss(self.next_value(read.upper), read.visits, measured)
        return {
            "outputs": shape_outputs(self.head(of_causes), self._outputs),
            "own_loss": self._next_value_loss * next_value_loss,
        }

    @torch.no_grad()
    def read_attention(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the weights of the visits before the last one, by ``time``; (records, time)."""
        return {"time": self._read(inputs).weights.squeeze(2)}

    def _read(self, inputs: Mapping[str, torch.Tensor]) -> "_History":
        present = inputs["present"]
        observed = inputs["observed"] & present.unsqueeze(2)  # (records, time, variables)
        values = inputs["values"].masked_fill(~observed, 0.0)
        waited = inputs["gaps"].amin(2, keepdim=True).masked_fill(~present.unsqueeze(2), 0.0)
        visits = torch.cat([waited, values], dim=2)
        last = find_last_visit(present)  # (records, time)
        history = present & ~last

        lower = self.lower(torch.cat([visits, observed.to(values)], dim=2), history)
        upper = self.upper(lower, history)
        states = torch.cat([lower, upper], dim=2)  # (records, time, 2 * memory)
        now = take_visit(torch.cat([values, observed.to(values)], dim=2), last)  # (records, 2 * variables)
        scores = self.attention(torch.cat([states, now.unsqueeze(1).expand(-1, states.shape[1], -1)], dim=2))
        return _History(values, observed, visits, last, upper, states, masked_softmax(scores, history.unsqueeze(2)))


class _History(NamedTuple):
    """What is read of a record before the networks of the causes.

    Attributes:
        values: 0 where nothing was measured; (records, time, variables).
        observed: which were; likewise.
        visits: the time since any measurement, and the values; (records, time, 1 + variables).
        last: which visit is the last one; (records, time).
        upper: states of the second layer; (records, time, memory).
        states: of both layers; (records, time, 2 * memory).
        weights: of the visits before the last one, summing to one; (records, time, 1).
    """

    values: torch.Tensor
    observed: torch.Tensor
    visits: torch.Tensor
    last: torch.Tensor
    upper: torch.Tensor
    states: torch.Tensor
    weights: torch.Tensor


def find_last_visit(present: torch.Tensor) -> torch.Tensor:
    """Return for every visit whether it is the record's last one; (records, time)."""
    following = torch.nn.functional.pad(present[:, 1:], (0, 1))
    return present & ~following


def take_visit(visits: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """Return the one visit that ``which`` (records, time) flags, zeros if there is none; (records, numbers)."""
    return (visits * which.unsqueeze(2)).sum(1)


def compute_next_value_loss(predicted: torch.Tensor, visits: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
    """Compute the mean squared error of each visit's prediction of the next one, 0 if nothing was measured there.

    All are (records, time, numbers); the result is (records,).
    """
    counted = measured[:, 1:].to(visits)
    errors = (predicted[:, :-1] - visits[:, 1:]).square() * counted
    return errors.sum((1, 2)) / counted.sum((1, 2)).clamp(min=1.0)


def _make_layer(inputs: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ELU(), nn.Dropout(dropout))


def build(options: DynamicDeepHitOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DynamicDeepHit:
    """Build Dynamic-DeepHit for visits of ``sizes["variables"]`` variables.

    Raises:
        ModelError: the outputs are not one number for each cause and interval, and one more.
    """
    count_intervals("dynamic-deephit", options.causes, outputs)
    return DynamicDeepHit(options, sizes["variables"], outputs)


MODEL: Final = ModelEntry(
    title="Dynamic-DeepHit, survival from repeated measurements",
    domain="longitudinal",
    options=DynamicDeepHitOptions,
    build=build,
    tasks=("survival",),
    inputs=(
        Input(
            "values", "number", ("time", "variables"), "measurements, 0 where missing; the middle of a range is 0"
        ),
        Input("observed", "flag", ("time", "variables"), "which variables were measured at a visit"),
        Input("gaps", "number", ("time", "variables"), "time since a variable's last measurement, scaled"),
        Input("present", "flag", ("time",), "which visits exist: the first ones"),
    ),
    citation="Lee, Yoon and van der Schaar 2020, Dynamic-DeepHit: A Deep Learning Approach for Dynamic Survival "
    "Analysis With Competing Risks Based on Longitudinal Data, IEEE Transactions on Biomedical Engineering "
    "67(1):122-133",
    repository="https://github.com/chl8856/Dynamic-DeepHit",
    presets={
        "paper": DynamicDeepHitOptions(),
        "small": DynamicDeepHitOptions(memory=8, hidden=8, dropout=0.0),
    },
    counts=(
        # the authors' network has 580,617 for 15 variables: 400 more for a flag that the time of a visit is known, 1
        # for a bias before a softmax and 1,616 for the spread of the next value, but 201 less, for no output "later"
        Count("paper", {"time": 16, "variables": 15}, (1785,), 578_801),
        Count("small", {"time": 5, "variables": 4}, (9,), 1982),
    ),
    example={"time": 5, "variables": 4},
    replaced=(
        Replacement(
            paper="a ranking loss between pairs of patients",
            here="none",
            why="it compares patients, so that one patient would change the gradients of all others, and clipping a "
            "patient's own gradient would not bound that",
        ),
        Replacement(
            paper="minibatches with as many patients of each event",
            here="patients are drawn independently; weights are a matter of the task",
            why="drawing by event depends on all patients, and only independent draws amplify privacy",
        ),
        Replacement(
            paper="a loss conditional on survival until the last visit, time counted from the first one",
            here="time counted from the last visit",
            why="it is the same condition, with the outputs spent on the time that is still unknown",
        ),
        Replacement(
            paper="the next value drawn from a normal distribution whose mean and deviation are learned",
            here="the mean alone",
            why="the expected squared error is that of the mean plus the variance, so the deviation learns to vanish",
        ),
        Replacement(
            paper="burn-in with the loss of the next value alone, then all losses",
            here="all losses from the first step",
            why="steps of the burn-in would be paid as the others are",
        ),
        Replacement(
            paper="rectified linear units, a penalty on the weights of the causes' networks",
            here="ELU, and no penalty",
            why="gradients of smooth activations vary less in length; a penalty belongs to no patient",
        ),
    ),
    figures="On 5,883 adults of the United Kingdom's cystic fibrosis registry the paper reports a much higher "
    "concordance index than joint models and landmarking Cox models (Lee et al. 2020).",
)
