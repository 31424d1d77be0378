"""RETAIN: two attentions over a patient's visits, read backwards in time, that explain each prediction exactly.

::

    visit t        v_t = W_emb codes_t
    visit weight   alpha = softmax over visits of (w . g_t)        g: gated units over the visits, last one first
    code weights   beta_t = tanh(W h_t + b)                        h: other gated units, likewise
    context        c = sum_t alpha_t beta_t * v_t
    outputs        U c + d

The outputs are linear in the codes once the weights are known, so every code of every visit has a contribution, and
these and d add up to the output (:meth:`Retain.read_contributions`).

Rules:

* padding stands after the visits, so before them when time is turned round, where it leaves the state at zero;
* the visit weights have no bias, which the softmax would remove.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.heads import count_outputs, shape_outputs
from models.layers.masked_softmax import masked_softmax
from models.layers.recurrent import GatedUnits


class RetainOptions(Options):
    """The options of ``retain``: widths, and the dropout of visits' embeddings and of the context."""

    embedding: Units = 128
    visit_units: Units = 128
    code_units: Units = 128
    embedding_dropout: float = Field(default=0.5, ge=0, le=0.95)
    context_dropout: float = Field(default=0.5, ge=0, le=0.95)


class Attention(NamedTuple):
    """What a prediction looks at.

    Attributes:
        visits: alpha, (records, visits), summing to one over present visits.
        codes: beta, (records, visits, embedding).
    """

    visits: torch.Tensor
    codes: torch.Tensor


class Retain(nn.Module):
    """An embedding of visits, two attentions, and a linear layer on the weighted sum of visits."""

    def __init__(self, options: RetainOptions, codes: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.embedding = nn.Linear(codes, options.embedding, bias=False)
        self.visit_units = GatedUnits(options.embedding, options.visit_units)
        self.visit_weight = nn.Linear(options.visit_units, 1, bias=False)
        self.code_units = GatedUnits(options.embedding, options.code_units)
        self.code_weights = nn.Linear(options.code_units, options.embedding)
        self.head = nn.Linear(options.embedding, count_outputs(outputs))
        self.embedding_dropout = nn.Dropout(options.embedding_dropout)
        self.context_dropout = nn.Dropout(options.context_dropout)
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs; (records, *outputs)."""
        embedded = self.embedding_dropout(self.embedding(inputs["visits"].float()))
        weights = self.attend(embedded, inputs["present"])
        context = (weights.visits.unsqueeze(2) * weights.codes * embedded).sum(1)  # (records, embedding)
        return shape_outputs(self.head(self.context_dropout(context)), self._outputs)

    def attend(self, embedded: torch.Tensor, present: torch.Tensor) -> Attention:
        """Compute both weights of embedded visits, (records, visits, embedding)."""
        backwards, here = embedded.flip(1), present.flip(1)
        of_visits = self.visit_units(backwards, here).flip(1)
        of_codes = self.code_units(backwards, here).flip(1)
        visits = masked_softmax(self.visit_weight(of_visits).squeeze(2), present)
        return Attention(visits, torch.tanh(self.code_weights(of_codes)))

    @torch.no_grad()
    def read_attention(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return alpha, the weights of ``visits``; (records, visits)."""
        return {"visits": self.attend(self.embedding(inputs["visits"].float()), inputs["present"]).visits}

    @torch.no_grad()
    def read_contributions(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return what every code of every visit adds to each output, as ``visits``; (records, visits, codes, *outputs).

        The sum over visits and codes, plus the bias of ``head``, is the output of :meth:`forward` in evaluation.
        """
        visits = inputs["visits"].float()
        weights = self.attend(self.embedding(visits), inputs["present"])
        # (records, visits, embedding, outputs): the output's share of each coordinate of a visit's embedding
        share = (weights.visits.unsqueeze(2) * weights.codes).unsqueeze(3) * self.head.weight.T
        each = torch.einsum("rveo,ec->rvco", share, self.embedding.weight) * visits.unsqueeze(3)
        return {"visits": each.reshape(*visits.shape, *self._outputs)}


def build(options: RetainOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Retain:
    """Build RETAIN for visits of ``sizes["codes"]`` codes."""
    return Retain(options, sizes["codes"], outputs)


MODEL: Final = ModelEntry(
    title="RETAIN, an explained prediction from visits",
    domain="records",
    options=RetainOptions,
    build=build,
    tasks=("binary", "multiclass", "multilabel"),
    inputs=(
        Input("visits", "flag", ("visits", "codes"), "which codes a visit has"),
        Input("present", "flag", ("visits",), "which visits exist: the first ones"),
    ),
    citation="Choi, Bahadori, Kulas, Schuetz, Stewart and Sun 2016, RETAIN: An Interpretable Predictive Model for "
    "Healthcare using Reverse Time Attention Mechanism, Advances in Neural Information Processing Systems 29",
    repository="https://github.com/mp2893/retain",
    presets={
        "paper": RetainOptions(),
        "small": RetainOptions(
            embedding=16, visit_units=8, code_units=8, embedding_dropout=0.0, context_dropout=0.0
        ),
    },
    counts=(
        Count("paper", {"visits": 10, "codes": 942}, (), 334_721),
        Count("small", {"visits": 5, "codes": 12}, (), 1561),
    ),
    example={"visits": 5, "codes": 12},
    replaced=(
        Replacement(
            paper="a bias before the softmax over visits",
            here="none",
            why="the softmax removes it: its gradient is zero, and with privacy it would be trained by noise alone",
        ),
        Replacement(
            paper="the squared weights of four layers in the loss, Adadelta",
            here="no penalty, and the engine's steps",
            why="a penalty belongs to no patient; noise and clipping already regularise",
        ),
        Replacement(
            paper="a prediction at every visit, from all visits so far",
            here="one prediction for each record, from all its visits; the time of a visit is not used",
            why="not because of privacy: every visit would need passes of its own over all visits before it",
        ),
    ),
    figures="The paper trains on 14 million visits of 263,000 patients (Choi et al. 2016).",
)
