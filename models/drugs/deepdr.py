"""deepDR: an autoencoder fuses public networks of drugs, then a variational one says which drugs a row still lacks.

::

    public     h_i = sigmoid(W_i n_i)      the rows of one drug in each network
               code = sigmoid(V [h_1 ... h_k]), and back to every network: 9 networks make 900 numbers a drug
    public     each of these numbers, over all drugs, is a row like one below: it begins the autoencoder's weights
    private    layer = relu(A known), mean and log variance of a code, relu(B code), a logit for each drug

A row has a flag for each drug that is known of it, and the labels are the drugs that are to be found. A drug that is
known gets a logit of -8: it is no answer.

Rules:

* a patient here is the record of the study: a hospital's patient with the drugs that help them, or, as in the paper, a
  disease with its drugs, where epsilon protects whether a company knows the disease's drugs;
* the networks, and what :class:`NetworkFusion` makes of them, are public knowledge: one drug's row holds the links of
  others, so clipping a drug would protect nobody. :func:`fuse_networks` and :func:`begin_with_features` run before the
  study, at its author's, and their weights enter it by digest (``model.start``).
"""

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.errors import ModelError
from models.layers.gaussian_code import bound_log_variance, compute_divergence, draw_code
from models.layers.heads import count_outputs, shape_outputs
from models.layers.sigmoid import LinearBeforeSigmoid

_KNOWN: Final = -8.0  # the logit of a drug that the row has already


class DeepDrOptions(Options):
    """The options of ``deepdr``.

    Attributes:
        hidden: units of the layers on both sides of the code.
        code: numbers of the code.
        divergence: the weight of the code's divergence from the standard normal distribution.
        leaves_out_known: whether a drug that the row has is no answer; the labels are then the same drugs.
    """

    hidden: Units = 1000
    code: int = Field(default=100, ge=1, le=4096)
    divergence: float = Field(default=3.0, gt=0, le=1000)
    leaves_out_known: bool = True


class DeepDr(nn.Module):
    """The variational autoencoder over rows of drugs."""

    draws_randomly = True

    def __init__(self, options: DeepDrOptions, drugs: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = nn.Linear(drugs, options.hidden)
        self.mean = nn.Linear(options.hidden, options.code)
        self.log_variance = nn.Linear(options.hidden, options.code)
        self.decoder = nn.Linear(options.code, options.hidden)
        self.head = nn.Linear(options.hidden, count_outputs(outputs))
        self._weight = options.divergence / drugs
        self._leaves_out_known, self._outputs = options.leaves_out_known, outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``outputs`` of ``known`` (records, drugs), (records, *outputs), and the divergence, (records,)."""
        known = inputs["known"]
        restored, divergence = self.restore(known.float())
        outputs = shape_outputs(restored, self._outputs)
        if self._leaves_out_known:
            outputs = torch.where(known.bool(), _KNOWN, outputs)
        return {"outputs": outputs, "own_loss": self._weight * divergence}

    def restore(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and the divergence of the code, (records,), of ``rows`` (records, drugs)."""
        layer = functional.relu(self.encoder(rows))
        mean, log_variance = self.mean(layer), bound_log_variance(self.log_variance(layer))
        code = draw_code(mean, log_variance) if self.training else mean
        logits: torch.Tensor = self.head(functional.relu(self.decoder(code)))
        return logits, compute_divergence(mean, log_variance)


class NetworkFusion(nn.Module):
    """The multimodal autoencoder of public networks: a layer for each, a common one, the code, and all of it back.

    On the way back each network has a layer of its own, which sees all that the common layers give.

    Args:
        networks: how many numbers a drug has in each network.
        hidden: units for each network; the common layer has half as many as all of them together.
        code: numbers of the code.
        noise: the deviation of normal noise on what is restored, in training.
    """

    def __init__(self, networks: Sequence[int], hidden: int = 1000, code: int = 900, noise: float = 0.5) -> None:
        super().__init__()
        count = len(networks)
        common = hidden * count // 2
        self.encoders = nn.ModuleList(LinearBeforeSigmoid(width, hidden) for width in networks)
        self.common = LinearBeforeSigmoid(hidden * count, common)
        self.code = LinearBeforeSigmoid(common, code)
        self.back = LinearBeforeSigmoid(code, common)
        self.all_parts = LinearBeforeSigmoid(common, hidden * count)
        self.parts = nn.ModuleList(LinearBeforeSigmoid(hidden * count, hidden) for _ in networks)
        self.decoders = nn.ModuleList(nn.Linear(hidden, width) for width in networks)
        self._noise = noise

    def encode(self, rows: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the code of drugs from their row in each network; (drugs, code)."""
        parts = [torch.sigmoid(encoder(row)) for encoder, row in zip(self.encoders, rows, strict=True)]
        return torch.sigmoid(self.code(torch.sigmoid(self.common(torch.cat(parts, dim=1)))))

    def forward(self, rows: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return logits of each drug's row in each network, in [0, 1]; (drugs, width) each."""
        noised = rows
        if self.training:
            noised = [(row + self._noise * torch.randn_like(row)).clamp(0, 1) for row in rows]
        common = torch.sigmoid(self.all_parts(torch.sigmoid(self.back(self.encode(noised)))))
        return [
            decoder(torch.sigmoid(part(common))) for part, decoder in zip(self.parts, self.decoders, strict=True)
        ]


def fuse_networks(
    networks: Sequence[torch.Tensor], *, hidden: int, code: int, epochs: int, rate: float = 0.01, seed: int = 0
) -> torch.Tensor:
    """Train a :class:`NetworkFusion` on public networks and return the code of every drug; (drugs, code).

    Args:
        networks: rows in [0, 1] of the same drugs, (drugs, width) each: pointwise mutual information over its largest.
        hidden: units for each network.
        code: numbers of a drug's code.
        epochs: passes over the drugs, 64 at a time.
        rate: of stochastic gradient descent with momentum 0.9.
        seed: of first values, order and noise.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        module = NetworkFusion([network.shape[1] for network in networks], hidden, code)
        optimiser = torch.optim.SGD(module.parameters(), lr=rate, momentum=0.9)
        for _ in range(epochs):
            for drugs in torch.split(torch.randperm(networks[0].shape[0]), 64):
                rows = [network[drugs] for network in networks]
                losses = [
                    functional.binary_cross_entropy_with_logits(found, row)
                    for found, row in zip(module(rows), rows, strict=True)
                ]
                optimiser.zero_grad()
                torch.autograd.backward(torch.stack(losses).sum())
                optimiser.step()
        module.eval()
        with torch.no_grad():
            return module.encode(networks)


def begin_with_features(
    module: DeepDr, features: torch.Tensor, *, epochs: int, weight: float = 6.0, rate: float = 1e-3, seed: int = 0
) -> None:
    """Train ``module`` to restore the public ``features`` (drugs, features), each a row over all drugs.

    A feature's drugs are those with more of it than its median has: the paper takes more than the least, which nearly
    every drug has.

    Args:
        module: over the same drugs; its parameters are changed.
        features: of the drugs, from :func:`fuse_networks`.
        epochs: passes over the features, 100 at a time.
        weight: of a squared error where a drug has the feature; elsewhere it is 1.
        rate: of Adam.
        seed: of the order and the codes.

    Raises:
        ModelError: the module gives other outputs than one for each of these drugs.
    """
    rows = (features > features.median(dim=0).values).T.float()  # (features, drugs)
    if (module.encoder.in_features, module.head.out_features) != (rows.shape[1],) * 2:
        raise ModelError(
            f"expected features of the {module.encoder.in_features} drugs that the model takes and gives, got "
            f"{rows.shape[1]}"
        )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        optimiser = torch.optim.Adam(module.parameters(), lr=rate)
        module.train()
        for _ in range(epochs):
            for chosen in torch.split(torch.randperm(rows.shape[0]), 100):
                logits, divergence = module.restore(rows[chosen])
                errors = (torch.sigmoid(logits) - rows[chosen]).square()
                weighted = torch.where(rows[chosen] > 0, weight, 1.0) * errors
                optimiser.zero_grad()
                torch.autograd.backward((weighted.mean(1) + 0.1 / rows.shape[1] * divergence).mean())
                optimiser.step()
        module.eval()


def build(options: DeepDrOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DeepDr:
    """Build the autoencoder for rows of ``drugs`` flags.

    Raises:
        ModelError: known drugs are to be left out, and the task does not ask for one output a drug.
    """
    if options.leaves_out_known and outputs != (sizes["drugs"],):
        raise ModelError(
            f"deepdr leaves out the drugs that are known, and needs one label for each of the {sizes['drugs']}; the "
            f"task asks for the shape {outputs}; for other labels write model.options.leaves_out_known: false"
        )
    return DeepDr(options, sizes["drugs"], outputs)


MODEL: Final = ModelEntry(
    title="deepDR: further drugs of a row of drugs",
    domain="drugs",
    rate=3.0,
    options=DeepDrOptions,
    build=build,
    tasks=("multilabel",),
    inputs=(Input("known", "flag", ("drugs",), "which drugs are known of the patient, or of the disease"),),
    citation="Zeng, Zhu, Liu, Zhou, Nussinov and Cheng 2019, deepDR: a network-based deep learning approach to in "
    "silico drug repositioning, Bioinformatics 35(24):5191-5198",
    repository="https://github.com/ChengF-Lab/deepDR",
    presets={
        "paper": DeepDrOptions(),
        "small": DeepDrOptions(hidden=24, code=8, divergence=0.05, leaves_out_known=False),
    },
    counts=(
        Count("paper", {"drugs": 1_519}, (1_519,), 3_341_719),
        Count("small", {"drugs": 20}, (3,), 1_195),
    ),
    example={"drugs": 20},
    figures="AUROC 0.908 over links between drugs and diseases, as many others beside them (Zeng et al. 2019); the "
    "product of both degrees has 0.75 there",
    replaced=(
        Replacement(
            paper="the networks' autoencoder is a stage of training",
            here="its codes are made before the study from public networks, and begin the model by digest",
            why="a drug's row holds links of other drugs, so that no record could be protected by clipping it",
        ),
        Replacement(
            paper="a row is restored from itself, and links that were taken out of it are looked for",
            here="a row of some of the links gives the others; known drugs are no answer",
            why="not because of privacy: so that what is counted is what was not told",
        ),
        Replacement(
            paper="the cross-entropy, with 15 times the weight of links, and the divergence, summed over drugs",
            here="the task's mean over them with positive_weight: 15, and the divergence over their number",
            why="then the clipping norm does not depend on the number of drugs",
        ),
        Replacement(
            paper="any log variance",
            here="between -8 and 8, smoothly",
            why="weights move by noise too, and an exponential of theirs could overflow",
        ),
    ),
)
