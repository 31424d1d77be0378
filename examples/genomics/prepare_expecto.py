"""Make the files of ``expecto.yaml``, and learn a public network that a second study freezes.

    python examples/genomics/prepare_expecto.py yeast_native.tsv.gz yeast_random10k.tsv.gz OUT

OUT gets what ``prepare_yeast_promoters.py`` makes of the first file, and beside it:

* ``network.safetensors``: the model of the study, trained here on the second file: 10,000 promoters whose 80 letters
  were drawn at random, with the expression they gave. They are public and in no other file;
* ``expecto.yaml``: the study, which begins with this network, named by its digest, and trains the head alone.

    consilium demo --model expecto --data OUT

trains all layers from nothing; the second study needs the network at every site (`consilium-site weights add`):

    consilium demo --study OUT/expecto.yaml --data OUT --weights OUT/network.safetensors
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import pandas as pd
import torch
import yaml
from prepare_yeast_promoters import HIGH, LOW, encode, prepare
from safetensors.torch import save_file
from torch.nn import functional

from models.catalogue import find_model
from models.parameters.weights_file import compute_weights_digest

STUDY: Final = Path(__file__).parent / "expecto.yaml"
_EPOCHS: Final = 10
_LOT: Final = 128
_RATE: Final = 0.003


def train_network(source: Path, options: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Train the model on the promoters in ``source``; return its parameters."""
    table = pd.read_csv(source, sep="\t")
    table = table[table["sequence"].str.len() == table["sequence"].str.len().mode()[0]]
    sequence = torch.tensor(encode(table["sequence"].tolist())).float()
    # as the contract scales it
    wanted = torch.tensor(2 * (table["expression"].clip(LOW, HIGH).to_numpy() - LOW) / (HIGH - LOW) - 1).float()
    entry = find_model("expecto")
    torch.manual_seed(0)
    module = entry.build(entry.check_options("expecto", options), {"bases": sequence.shape[2]}, ())
    optimiser = torch.optim.Adam(module.parameters(), lr=_RATE)
    for epoch in range(_EPOCHS):
        total = 0.0
        for rows in torch.split(torch.randperm(len(wanted)), _LOT):
            loss = functional.mse_loss(module({"sequence": sequence[rows]}), wanted[rows])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            total += float(loss.detach()) * len(rows) / len(wanted)
        sys.stdout.write(f"epoch {epoch + 1} on public promoters: squared error {total:.3f}\n")
    return {name: value.detach().contiguous() for name, value in module.named_parameters()}


def write_study(weights: Path, target: Path) -> None:
    """Write the study that begins with ``weights`` and freezes the network."""
    study = yaml.safe_load(STUDY.read_text(encoding="utf-8"))
    study["name"] += "-public"
    study["model"] |= {"start": compute_weights_digest(weights), "frozen": ["chromatin"]}
    target.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the files of expecto.yaml, and a public network.")
    parser.add_argument("native", type=Path, metavar="NATIVE", help="yeast_native.tsv.gz")
    parser.add_argument("random", type=Path, metavar="RANDOM", help="yeast_random10k.tsv.gz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.native, asked.target)
    options = yaml.safe_load(STUDY.read_text(encoding="utf-8"))["model"]["options"]
    save_file(train_network(asked.random, options), asked.target / "network.safetensors")
    write_study(asked.target / "network.safetensors", asked.target / "expecto.yaml")
