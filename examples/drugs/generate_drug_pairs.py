"""Build pairs of molecules for modules of genes, with the released model of ``drug_combo.yaml`` and public networks.

    python examples/drugs/generate_drug_pairs.py STUDY.yaml WEIGHTS.safetensors FOLDER OUT.csv [--module NAME ...]

STUDY.yaml is the study as it was trained, WEIGHTS what ``consilium-site release`` gives of it. FOLDER has public data:
``gedfn/brca_er.npz`` (which genes the study's are, and their pathways), ``interactome/ppi.npz`` and
``interactome/drug_targets.json.gz`` (https://github.com/emreg00/proximity), and ``dti/biosnap_smiles.json.gz``
(https://github.com/kexinhuang12345/MolTrans). A module is a pathway; its vector is the mean of its genes' codes in the
released model. Two policies learn to imitate known drugs, then to have a great reward (``models/molecules``). No record
of a site is read, and what is made of a released model costs no privacy.

OUT gets the pairs that the policies build at the end, with the parts of their reward; the means of these before and
after are printed, beside those of pairs of known drugs, and of vectors that were exchanged between modules. Needs rdkit
(``pip install 'consilium[chemistry]'``). It takes five to ten minutes on one core; how far it gets in them stands in
``drug_combo.yaml``.
"""

import argparse
import csv
import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Final, NamedTuple

import numpy as np
import torch
from rdkit import Chem, rdBase
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from models.drugs.drug_combo import DrugCombo
from models.errors import ModelError
from models.fit import build_module
from models.molecules.critic import Critic, teach_critic
from models.molecules.graphs import NOTHING, Graphs, list_bonds, list_symbols, make_molecules, retrace_steps
from models.molecules.interactome import Interactome, compute_proximity
from models.molecules.likeness import BindingByLikeness, fingerprint
from models.molecules.pair_reward import Disease, PairReward, Parts, Weights
from models.molecules.policy import Policy
from models.molecules.reinforcement import build_molecules, imitate, reinforce
from privacy.study import read_terms

MODULES: Final = ("cAMP signaling pathway", "cGMP-PKG signaling pathway", "Calcium signaling pathway")
MOST_ATOMS: Final = 40  # of a known drug that a new molecule is compared with
PLACES: Final = 18  # atoms of a new molecule, at most
LEAST_ATOMS: Final = 8
MOST_STEPS: Final = 30
WIDTH: Final = 32  # of the policies; half of the paper's
PAIRS: Final = 100  # of each module, at the end
SAID_EVERY: Final = 10  # rounds
_KINDS: Final = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)


class Drugs(NamedTuple):
    """Known drugs: their molecules, and the genes of their targets."""

    graphs: Graphs
    targets: list[set[int]]


def read_drugs(source: Path) -> Drugs:
    """Read the drugs in ``source`` whose molecule is neutral, one piece, and not too large."""
    rdBase.DisableLog("rdApp.*")
    smiles = json.loads(gzip.decompress((source / "dti" / "biosnap_smiles.json.gz").read_bytes()))
    targets = json.loads(gzip.decompress((source / "interactome" / "drug_targets.json.gz").read_bytes()))
    molecules, bound = [], []
    for name in sorted(smiles.keys() & targets.keys()):
        molecule = Chem.MolFromSmiles(smiles[name])
        if molecule is None or "." in smiles[name]:
            continue
        Chem.Kekulize(molecule, clearAromaticFlags=True)
        read = (
            [atom.GetSymbol() for atom in molecule.GetAtoms()],
            [
                (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), int(bond.GetBondTypeAsDouble()))
                for bond in molecule.GetBonds()
            ],
        )
        try:
            make_molecules([read], MOST_ATOMS)
        except ModelError:  # too large, or with atoms that no policy builds
            continue
        molecules.append(read)
        bound.append(set(targets[name]))
    return Drugs(make_molecules(molecules, MOST_ATOMS), bound)


def write_molecule(graphs: Graphs, row: int) -> str:
    """Write a molecule as SMILES; nothing if rdkit refuses it."""
    made = Chem.RWMol()
    for symbol in list_symbols(graphs, row):
        made.AddAtom(Chem.Atom(symbol))
    for one, two, order in list_bonds(graphs, row):
        made.AddBond(one, two, _KINDS[order - 1])
    if Chem.SanitizeMol(made, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
        return ""
    return str(Chem.MolToSmiles(made))


def read_modules(source: Path, names: Sequence[str]) -> tuple[list[int], list[list[int]]]:
    """Read the genes of the study, and which of them belong to each module."""
    with np.load(source / "gedfn" / "brca_er.npz") as arrays:
        known = arrays["pathway_names"].tolist()
        if strange := set(names) - set(known):
            raise SystemExit(f"{', '.join(sorted(strange))}: no such module; there are {', '.join(known)}")
        genes = arrays["entrez"]
        return genes.tolist(), [genes[arrays["pathway"][known.index(name)] > 0].tolist() for name in names]


def read_vectors(
    study: Path, weights: Path, genes: Sequence[int], modules: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Read the vector of each module from the released model, in standard deviations of a gene's code."""
    terms = read_terms(study)
    module = build_module(terms.model, terms.data, terms.task)
    if not isinstance(module, DrugCombo):
        raise SystemExit(f"{study}: expected the model drug-combo, got {terms.model.name}")
    module.load_state_dict(load_file(weights))
    codes = module.genes.weight.detach().T
    if len(codes) != len(genes):
        raise SystemExit(f"{study}: expected {len(genes)} genes, as in brca_er.npz, got {len(codes)}")
    scaled = (codes - codes.mean(0)) / codes.std(0)
    return torch.stack([scaled[[genes.index(gene) for gene in each]].mean(0) for each in modules])


def make_reward(source: Path, drugs: Drugs, modules: Sequence[Sequence[int]], weights: Weights) -> PairReward:
    """Make the reward of pairs for the modules from the interactome and the known drugs."""
    with np.load(source / "interactome" / "ppi.npz") as arrays:
        network = Interactome(arrays["gene"].tolist(), arrays["edge"])
    prints = fingerprint(drugs.graphs)
    placed = [(row, places) for row, each in enumerate(drugs.targets) if (places := network.find(each))]
    asked = sorted({place for _, places in placed for place in places})
    position = {place: number for number, place in enumerate(asked)}
    diseases = []
    for genes in modules:
        nearest = network.measure_distances(network.find(genes)).min(axis=0)
        near = [compute_proximity(nearest, network.degree, places) for _, places in placed]
        diseases.append(Disease(BindingByLikeness(prints, drugs.targets, genes), torch.tensor(near)))
    return PairReward(
        diseases,
        prints[[row for row, _ in placed]],
        [[position[place] for place in places] for _, places in placed],
        network.measure_distances(asked)[:, asked],
        weights,
    )


class Learner:
    """Two policies, the critic and the known molecules that both learn from.

    Args:
        drugs: known drugs.
        vectors: of the modules; (modules, numbers).
        reward: of pairs.
        random: of all draws.
    """

    def __init__(self, drugs: Drugs, vectors: torch.Tensor, reward: PairReward, random: torch.Generator) -> None:
        sizes = (drugs.graphs.atoms != NOTHING).sum(1)
        carbon = (drugs.graphs.atoms == 0).any(1)
        chosen = (sizes >= LEAST_ATOMS) & (sizes <= PLACES) & carbon
        self.known = Graphs(drugs.graphs.atoms[chosen][:, :PLACES], drugs.graphs.bonds[chosen][:, :PLACES, :PLACES])
        self.policies = (Policy(vectors.shape[1], LEAST_ATOMS, WIDTH), Policy(vectors.shape[1], LEAST_ATOMS, WIDTH))
        self.critic = Critic()
        self.parts: list[Parts] = []
        self._vectors, self._reward, self._random = vectors, reward, random
        self._optimiser = torch.optim.Adam(self.critic.parameters(), lr=3e-3, betas=(0.5, 0.9))

    def imitate(self, steps: int) -> None:
        """Teach the first policy to build known molecules, begin the second one as it, and warm the critic up."""
        paths = [
            each for row in range(len(self.known.atoms)) for each in retrace_steps(self.known, row, self._random)
        ]
        first, second = self.policies
        losses = list(imitate(first, paths, self._vectors, self._random, steps=steps, rate=3e-3))
        second.load_state_dict(first.state_dict())
        sys.stdout.write(f"imitated {len(self.known.atoms)} drugs: {fmean(losses[-100:]):.2f} nats a step\n")
        made = self.build(torch.randint(len(self._vectors), (512,), generator=self._random))[0]
        for _ in range(steps // 8):
            chosen = torch.randint(512, (32,), generator=self._random)
            self._teach(Graphs(made.atoms[chosen], made.bonds[chosen]))

    def build(self, numbers: torch.Tensor) -> tuple[Graphs, Graphs]:
        """Build a pair for each module's number; (pairs,)."""
        vectors = self._vectors[numbers]
        one, other = (
            build_molecules(policy, vectors, PLACES, MOST_STEPS, self._random).made for policy in self.policies
        )
        return one, other

    def reinforce(self, rounds: int) -> None:
        """Teach both policies by the reward; print its mean parts from time to time."""
        learning = reinforce(
            self.policies,
            self._vectors,
            self._judge_and_teach,
            self._random,
            rounds=rounds,
            places=PLACES,
            most=MOST_STEPS,
            pairs=48,
        )
        rewards = []
        for number, each in enumerate(learning, 1):
            rewards.append(each.reward)
            if number % SAID_EVERY == 0:
                said = show_parts(join_parts(self.parts[-SAID_EVERY:]))
                sys.stdout.write(f"round {number}: reward {fmean(rewards[-SAID_EVERY:]):.2f}; {said}\n")
                sys.stdout.flush()

    def judge(self, first: Graphs, second: Graphs, numbers: torch.Tensor) -> Parts:
        """Compute the parts of pairs for the modules of these numbers."""
        return self._reward.compute_parts(first, second, numbers, self.critic, self._draw_known(256))

    def _judge_and_teach(self, first: Graphs, second: Graphs, numbers: torch.Tensor) -> torch.Tensor:
        for made in (first, second, first, second):
            self._teach(made)
        self.parts.append(self.judge(first, second, numbers))
        return self.parts[-1].weigh(self._reward.weights)

    def _teach(self, made: Graphs) -> None:
        teach_critic(self.critic, self._optimiser, self._draw_known(len(made.atoms)), made, self._random)

    def _draw_known(self, count: int) -> Graphs:
        chosen = torch.randint(len(self.known.atoms), (count,), generator=self._random)
        return Graphs(self.known.atoms[chosen], self.known.bonds[chosen])


def join_parts(parts: Sequence[Parts]) -> Parts:
    """Put the parts of several rounds behind one another."""
    return Parts(*(torch.cat(each, dim=-1) for each in zip(*parts, strict=True)))


def show_parts(parts: Parts) -> str:
    """Show the means of the parts."""
    return ", ".join(f"{name} {float(values.mean()):.4f}" for name, values in parts._asdict().items())


def show_molecules(pairs: Sequence[Graphs], known: Graphs) -> str:
    """Show which share of the molecules is valid, of these different, and of those not one of the known."""
    written = [write_molecule(made, row) for made in pairs for row in range(len(made.atoms))]
    valid = [each for each in written if each]
    different = set(valid)
    new = different - {write_molecule(known, row) for row in range(len(known.atoms))}
    return (
        f"valid {len(valid) / len(written):.2f}, of these unique {len(different) / max(1, len(valid)):.2f}, of these "
        f"new {len(new) / max(1, len(different)):.2f}"
    )


def show_binding(binding: BindingByLikeness) -> str:
    """Show how well likeness tells which proteins known drugs bind, each asked as if it were not known."""
    often = binding.binds.float().mean(0).expand_as(binding.nearest)
    told, usual = (roc_auc_score(binding.binds.flatten(), each.flatten()) for each in (binding.nearest, often))
    return f"{len(binding.proteins)} proteins; AUROC of binding {told:.3f}, by how often a protein is bound {usual:.3f}"


def generate(
    source: Path,
    study: Path,
    weights: Path,
    target: Path,
    names: Sequence[str],
    imitated: int,
    rounds: int,
    seed: int,
) -> None:
    """Learn, print what was learned, and write ``PAIRS`` pairs for each module to ``target``."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    genes, modules = read_modules(source, names)
    vectors = read_vectors(study, weights, genes, modules)
    drugs = read_drugs(source)
    reward = make_reward(source, drugs, modules, Weights())
    learner = Learner(drugs, vectors, reward, random)
    for name, disease in zip(names, reward.diseases, strict=True):
        sys.stdout.write(f"{name}: {show_binding(disease.binding)}\n")
    numbers = torch.arange(len(modules)).repeat_interleave(PAIRS)
    for title, steps in (("after imitation", imitated), ("after reinforcement", 0)):
        if steps:
            learner.imitate(steps)
        else:
            learner.reinforce(rounds)
        pairs = learner.build(numbers)
        parts = learner.judge(*pairs, numbers)
        sys.stdout.write(f"{title}: {show_parts(parts)}; {show_molecules(pairs, learner.known)}\n")
    exchanged = learner.judge(*pairs, numbers.roll(PAIRS))
    sys.stdout.write(f"the same pairs for other modules: {show_parts(exchanged)}\n")
    chosen = [torch.randint(len(learner.known.atoms), (len(numbers),), generator=random) for _ in pairs]
    known = [Graphs(learner.known.atoms[each], learner.known.bonds[each]) for each in chosen]
    sys.stdout.write(f"pairs of known drugs: {show_parts(learner.judge(known[0], known[1], numbers))}\n")
    with target.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["module", "first", "second", *Parts._fields])
        for row, number in enumerate(numbers.tolist()):
            values = [f"{float(values[..., row].sum()):.4f}" for values in parts]  # of both molecules
            table.writerow([names[number], *(write_molecule(made, row) for made in pairs), *values])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build pairs of molecules for modules of genes.")
    parser.add_argument("study", type=Path, metavar="STUDY.yaml")
    parser.add_argument("weights", type=Path, metavar="WEIGHTS.safetensors")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with gedfn, interactome and dti")
    parser.add_argument("target", type=Path, metavar="OUT.csv")
    parser.add_argument("--module", action="append", help="a pathway of brca_er.npz; may be repeated")
    parser.add_argument("--imitated", type=int, default=2500, help="updates of the first policy, before the reward")
    parser.add_argument("--rounds", type=int, default=150, help="of reinforcement")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    generate(
        asked.source,
        asked.study,
        asked.weights,
        asked.target,
        asked.module or MODULES,
        asked.imitated,
        asked.rounds,
        asked.seed,
    )
