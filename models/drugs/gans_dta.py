"""GANsDTA: DeepDTA's network, whose towers a generative network has pre-trained on public sequences.

The towers are public weights, which ``examples/drugs/pretrain_towers.py`` makes from public compounds and proteins
(``models/layers/sequence_gan.py``). A study names them (``model.start``) and trains the perceptron alone
(``trained: [layers]``), so that fewer parameters get noise. No code of the authors was found, and the sizes are
those of DeepDTA, which the paper compares itself with.

A "patient" is the compound of a company, with all its pairs: epsilon protects that compound and what it binds, and no
person. Whose sequences the towers learned from is not protected: they must be public.
"""

from typing import Final

from models.drugs import deepdta
from models.drugs.deepdta import DeepDtaOptions, Kernel
from models.entry import Count, ModelEntry, Replacement


class GansDtaOptions(DeepDtaOptions):
    """The options of ``gans-dta``: those of ``deepdta``, with other kernels."""

    compound_kernel: Kernel = 4
    protein_kernel: Kernel = 8


_PAPER: Final = {"compound_length": 85, "compound_letters": 65, "protein_length": 1200, "protein_letters": 26}
_EXAMPLE: Final = {"compound_length": 20, "compound_letters": 65, "protein_length": 40, "protein_letters": 26}

MODEL: Final = ModelEntry(
    title="GANsDTA: affinity from towers that are pre-trained on public sequences",
    domain="drugs",
    rate=0.2,
    options=GansDtaOptions,
    build=deepdta.build,
    tasks=deepdta.MODEL.tasks,
    inputs=deepdta.MODEL.inputs,
    citation="Zhao, Wang, Pang, Liu and Zhang 2020, GANsDTA: predicting drug-target binding affinity using GANs, "
    "Frontiers in Genetics 10:1243",
    presets={
        "paper": GansDtaOptions(),
        "small": GansDtaOptions(
            embedding=16, filters=8, compound_kernel=4, protein_kernel=4, hidden=(32, 32, 16), dropout=0.0
        ),
    },
    # two generators of 87,872 and 175,424 parameters are used in pre-training alone
    counts=(
        Count("paper", _PAPER, (), 1_932_033),
        Count("small", _EXAMPLE, (), 9_841),
    ),
    example=_EXAMPLE,
    replaced=(
        Replacement(
            paper="pairs of a compound and a protein are drawn one by one",
            here="all pairs of a compound are its records, and are clipped together",
            why="a compound is in hundreds of pairs: protecting a pair would not protect the compound",
        ),
        Replacement(
            paper="towers are trained with the perceptron after pre-training",
            here="a study may train the perceptron alone",
            why="every trained parameter gets noise; public towers cost nothing",
        ),
    ),
)
