"""Sites that keep sequences, expression or pairs in files of their own, each in another form, learn one model.

Every site converts its files by its own mapping, and the study runs over the snapshots.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from client.data.conversion.kept_snapshots import make_snapshot
from privacy.study import Terms, parse_terms
from tests.simulator import Simulator

SITES: Final = ("ash", "birch", "cedar")
COUNT: Final = 90  # people of a site
YES_NO: Final = {"name": "ill", "positive": ["yes"], "negative": ["no"]}
Write = Callable[[Path, Sequence[str], NDArray[np.bool_], np.random.Generator], dict[str, Any]]
"""(folder, people, whether each is ill, random) -> the site's mapping; its files are in the folder."""


def make_terms(data: dict[str, Any], model: dict[str, Any], task: dict[str, Any]) -> Terms:
    return parse_terms(
        {
            "consilium": 1,
            "name": "several-forms",
            "purpose": "a test",
            "model": model,
            "data": {"name": "people", "ranges_from": "invented"} | data,
            "task": task,
            "training": {"rounds": 2, "local_steps": 1, "sampling_rate": 0.5, "learning_rate": 0.1},
            "privacy": {"epsilon": 4, "delta": 1e-3, "clipping_norm": 1.0},
            "cohort": {"minimum": 3, "maximum": 8},
            "evaluation": {"rounds": [2], "bins": 10, "epsilon": "none"},
        }
    )


def draw_letters(random: np.random.Generator, ill: bool, length: int = 40, alphabet: str = "ACGT") -> str:
    """Letters in which the first of the alphabet is frequent in the ill."""
    likely = np.ones(len(alphabet))
    likely[0] = 8 if ill else 1
    return "".join(random.choice(list(alphabet), length, p=likely / likely.sum()))


# Sequences: FASTA, a genome with intervals, a table --------------------------------------------------------


def write_fasta(
    folder: Path, people: Sequence[str], ill: NDArray[np.bool_], random: np.random.Generator
) -> dict[str, Any]:
    records = [
        f">{name} {'yes' if sick else 'no'}\n{draw_letters(random, sick)}\n"
        for name, sick in zip(people, ill, strict=True)
    ]
    (folder / "s.fa").write_text("".join(records))
    source = {"kind": "fasta", "files": [{"path": "s.fa"}], "header": r"(?P<patient>\S+) (?P<ill>\w+)"}
    return {"source": source}


def write_intervals(
    folder: Path, people: Sequence[str], ill: NDArray[np.bool_], random: np.random.Generator
) -> dict[str, Any]:
    (folder / "g.fa").write_text(">chr1\n" + "".join(draw_letters(random, sick) + "\n" for sick in ill))
    rows = [f"chr1\t{40 * n}\t{40 * n + 40}\t{name}\t{int(ill[n])}\t+\n" for n, name in enumerate(people)]
    (folder / "s.bed").write_text("".join(rows))
    (folder / "t.csv").write_text("code,word\n1,yes\n0,no\n")
    return {
        "source": {"kind": "intervals", "files": [{"path": "s.bed"}], "genome": "g.fa"},
        "columns": {"patient": "name"},
        "tables": [
            {"source": {"kind": "csv", "path": "t.csv"}, "match": {"code": "score"}, "columns": {"ill": "word"}}
        ],
    }


def write_sequence_table(
    folder: Path, people: Sequence[str], ill: NDArray[np.bool_], random: np.random.Generator
) -> dict[str, Any]:
    rows = [
        f"{name};{'yes' if sick else 'no'};{draw_letters(random, sick)}\n"
        for name, sick in zip(people, ill, strict=True)
    ]
    (folder / "s.csv").write_text("who;ill;letters\n" + "".join(rows))
    source = {"kind": "table", "source": {"kind": "csv", "path": "s.csv"}, "sequence": "letters"}
    return {"source": source, "columns": {"patient": "who"}}


# Expression: GCT with CLS, genes in columns, h5ad ----------------------------------------------------------

GENES: Final = [f"G{number}" for number in range(8)]


def draw_expression(random: np.random.Generator, ill: NDArray[np.bool_]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = random.uniform(1, 9, (len(ill), len(GENES))) + 4.0 * ill[:, None]
    return values.round(3)


def write_gct(
    folder: Path, people: Sequence[str], ill: NDArray[np.bool_], random: np.random.Generator
) -> dict[str, Any]:
    values = draw_expression(random, ill)
    rows = [f"{gene}\t-\t" + "\t".join(map(str, values[:, n])) + "\n" for n, gene in enumerate(GENES)]
    head = f"#1.2\n{len(GENES)}\t{len(people)}\nNAME\tDescription\t" + "\t".join(people) + "\n"
    (folder / "e.gct").write_text(head + "".join(rows))
    (folder / "e.cls").write_text(
        f"{len(people)} 2 1\n# no yes\n{' '.join('yes' if sick else 'no' for sick in ill)}\n"
    )
    return {
        "sources": [{"kind": "gct", "path": "e.gct"}],
        "columns": {"patient": "sample"},
        "tables": [
            {"source": {"kind": "cls", "path": "e.cls"}, "match": {"sample": "number"}, "columns": {"ill": "class"}}
        ],
    }


def write_gene_columns(
    folder: Path, people: Sequence[str], ill: NDArray[np.bool_], random: np.random.Generator
) -> dict[str, Any]:
    rows = [
        f"{name};{'yes' if sick else 'no'};" + ";".join(str(each).replace(".", ",") for each in values) + "\n"
        for name, sick, values in zip(people, ill, draw_expression(random, ill), strict=True)
    ]
    (folder / "e.csv").write_text("who;ill;" + ";".join(GENES) + "\n" + "".join(rows))
    source = {"kind": "table", "path": "e.csv", "genes_in": "columns", "delimiter": ";", "decimal": ","}
    return {"sources": [source], "columns": {"patient": "sample"}}


def write_h5ad(
    folder: Path, people: Sequence[str], ill: NDArray[np.bool_], random: np.random.Generator
) -> dict[str, Any]:
    h5py = pytest.importorskip("h5py", reason="needs the extra genomics")
    with h5py.File(folder / "e.h5ad", "w") as file:
        file["X"] = draw_expression(random, ill)
        for group, names in (("obs", people), ("var", GENES)):
            file.create_group(group).attrs["_index"] = "_index"
            file[f"{group}/_index"] = list(names)
        file["obs/ill"] = ["yes" if sick else "no" for sick in ill]
    return {"sources": [{"kind": "h5ad", "path": "e.h5ad"}], "columns": {"patient": "sample"}}


# Pairs: tables, FASTA, one table with all letters ----------------------------------------------------------


def draw_pairs(
    people: Sequence[str], ill: NDArray[np.bool_], random: np.random.Generator
) -> list[tuple[str, str, str, str, float]]:
    """For each compound its letters, a protein and its letters, and a constant."""
    proteins = [draw_letters(random, False, 30, "ACDEFGHIK") for _ in range(5)]
    return [
        (name, draw_letters(random, sick, 12, "CNO"), f"P{n % 5}", proteins[n % 5], 10.0 if sick else 4000.0)
        for n, (name, sick) in enumerate(zip(people, ill, strict=True))
    ]


def write_pair_files(folder: Path, drawn: list[tuple[str, str, str, str, float]], fasta: bool) -> dict[str, Any]:
    (folder / "p.csv").write_text("drug,target,kd\n" + "".join(f"{d},{t},{k}\n" for d, _, t, _, k in drawn))
    (folder / "d.csv").write_text("id,smiles\n" + "".join(f"{d},{s}\n" for d, s, _, _, _ in drawn))
    proteins = {target: letters for _, _, target, letters, _ in drawn}
    table = {"kind": "table", "id": "id", "text": "smiles"}
    compound = table | {"match": "drug", "source": {"kind": "csv", "path": "d.csv"}}
    if fasta:
        (folder / "t.fa").write_text("".join(f">{target}\n{letters}\n" for target, letters in proteins.items()))
        protein: dict[str, Any] = {"kind": "fasta", "match": "target", "path": "t.fa"}
    else:
        (folder / "t.csv").write_text(
            "id,smiles\n" + "".join(f"{t},{letters}\n" for t, letters in proteins.items())
        )
        protein = table | {"match": "target", "source": {"kind": "csv", "path": "t.csv"}}
    return {
        "pairs": {"kind": "csv", "path": "p.csv"},
        "items": {"compound": compound, "protein": protein},
        "affinity": {"column": "kd", "unit": "nM"},
    }


def write_pair_tables(
    folder: Path, people: Sequence[str], ill: NDArray[np.bool_], random: np.random.Generator
) -> dict[str, Any]:
    return write_pair_files(folder, draw_pairs(people, ill, random), fasta=False)


def write_pair_fasta(
    folder: Path, people: Sequence[str], ill: NDArray[np.bool_], random: np.random.Generator
) -> dict[str, Any]:
    return write_pair_files(folder, draw_pairs(people, ill, random), fasta=True)


def write_one_table(
    folder: Path, people: Sequence[str], ill: NDArray[np.bool_], random: np.random.Generator
) -> dict[str, Any]:
    rows = [f"{d}\t{s}\t{p}\t{k / 1000}\n" for d, s, _, p, k in draw_pairs(people, ill, random)]
    (folder / "p.tsv").write_text("drug\tsmiles\tletters\tkd\n" + "".join(rows))
    return {
        "pairs": {"kind": "csv", "path": "p.tsv", "delimiter": "tab"},
        "items": {
            "compound": {"kind": "column", "column": "smiles", "id": "drug"},
            "protein": {"kind": "column", "column": "letters"},
        },
        "affinity": {"column": "kd", "unit": "uM"},
    }


# Similarities to a public list: two tables, arrays --------------------------------------------------------

THINGS: Final = [f"thing-{number}" for number in range(6)]


def draw_similarities(random: np.random.Generator, ill: NDArray[np.bool_]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = random.uniform(0, 0.6, (len(ill), len(THINGS))) + 0.4 * ill[:, None]
    return values.round(3)


def write_matrix(
    folder: Path, people: Sequence[str], values: NDArray[np.float64], ill: NDArray[np.bool_], mark: str
) -> None:
    delimiter = "\t" if mark == "." else ";"
    rows = [
        delimiter.join([name, *(str(each).replace(".", mark) for each in own)])
        for name, own in zip(people, values, strict=True)
    ]
    (folder / "m.tsv").write_text("\n".join([delimiter.join(["", *THINGS]), *rows]) + "\n")
    words = [f"{name},{'yes' if sick else 'no'}" for name, sick in zip(people, ill, strict=True)]
    (folder / "p.csv").write_text("\n".join(["drug,ill", *words]) + "\n")


def write_points(
    folder: Path, people: Sequence[str], ill: NDArray[np.bool_], random: np.random.Generator
) -> dict[str, Any]:
    write_matrix(folder, people, draw_similarities(random, ill), ill, ".")
    item = {"kind": "matrix", "match": "drug", "path": "m.tsv"}
    return {"pairs": {"kind": "csv", "path": "p.csv"}, "items": {"features": item}}


def write_commas(
    folder: Path, people: Sequence[str], ill: NDArray[np.bool_], random: np.random.Generator
) -> dict[str, Any]:
    write_matrix(folder, people, draw_similarities(random, ill), ill, ",")
    item = {"kind": "matrix", "match": "drug", "path": "m.tsv", "delimiter": ";", "decimal": ","}
    return {"pairs": {"kind": "csv", "path": "p.csv"}, "items": {"features": item}}


def write_arrays(
    folder: Path, people: Sequence[str], ill: NDArray[np.bool_], random: np.random.Generator
) -> dict[str, Any]:
    values = draw_similarities(random, ill)
    write_matrix(folder, people, values, ill, ".")
    np.savez(folder / "m.npz", values=values, names=np.array(people), things=np.array(THINGS))
    item = {
        "kind": "npz",
        "match": "drug",
        "path": "m.npz",
        "values": "values",
        "rows": "names",
        "columns": "things",
    }
    return {"pairs": {"kind": "csv", "path": "p.csv"}, "items": {"features": item}}


BASES: Final = {"name": "signals", "alphabet": "dna", "length": 40, "encoded": "one-hot"}
STUDIES: Final[dict[str, tuple[Terms, tuple[Write, Write, Write]]]] = {
    "sequences": (
        make_terms(
            {"kind": "sequences", "sequence": BASES, "label": YES_NO},
            {"name": "deepchrome", "options": {"preset": "small"}},
            {"kind": "binary"},
        ),
        (write_fasta, write_intervals, write_sequence_table),
    ),
    "expression": (
        make_terms(
            {"kind": "expression", "genes": GENES, "transform": "log2p1", "low": 0, "high": 4, "label": YES_NO},
            {"name": "mlp", "options": {"hidden": [4]}},
            {"kind": "binary"},
        ),
        (write_gct, write_gene_columns, write_h5ad),
    ),
    "similarities": (
        make_terms(
            {
                "kind": "pairs",
                "protected": "features",
                "inputs": [{"kind": "similarities", "name": "features", "columns": THINGS}],
                "label": YES_NO,
            },
            {"name": "mlp", "options": {"hidden": [4]}},
            {"kind": "binary"},
        ),
        (write_points, write_commas, write_arrays),
    ),
    "pairs": (
        make_terms(
            {
                "kind": "pairs",
                "protected": "compound",
                "inputs": [
                    {"kind": "letters", "name": "compound", "alphabet": "smiles", "length": 40, "encoded": "ids"},
                    {"kind": "letters", "name": "protein", "alphabet": "protein", "length": 60, "encoded": "ids"},
                ],
                "affinity": {"low": 5, "high": 11},
            },
            {"name": "deepdta", "options": {"preset": "small"}},
            {"kind": "pairs", "target": "affinity"},
        ),
        (write_pair_tables, write_pair_fasta, write_one_table),
    ),
}


@pytest.mark.parametrize("kind", STUDIES)
def test_sites_with_files_of_other_forms_reach_one_model(tmp_path: Path, kind: str) -> None:
    terms, forms = STUDIES[kind]

    def write_files(home: Path, name: str, number: int) -> tuple[Path, Path]:
        random = np.random.default_rng(number)
        people = [f"{name}-{person:03d}" for person in range(COUNT)]
        folder = home.parent / f"{name}-own"
        folder.mkdir()
        mapping = forms[number](folder, people, random.random(COUNT) < 0.5, random)
        path = folder / "mapping.yaml"
        path.write_text(yaml.safe_dump({"mapping": 1, "contract": terms.data.name} | mapping))
        snapshot = make_snapshot(terms.data, path, home / "data", 0.0)
        assert snapshot.report.training + snapshot.report.test == COUNT
        return snapshot.train, snapshot.test

    simulator = Simulator(tmp_path / "wood", terms, SITES, write_files)
    try:
        simulator.launch()
        simulator.run()
        assert all(simulator.trained[name, number] == 1 for name in SITES for number in (1, 2))
        assert len({simulator.released_model(name) for name in SITES}) == 1
    finally:
        simulator.close()
