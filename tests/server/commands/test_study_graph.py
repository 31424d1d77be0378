"""``consilium study graph`` as a study's author types it."""

import itertools
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from models.genomics.gedfn import GedfnOptions
from models.layers.graph import Graph
from privacy.errors import TermsError
from privacy.study import read_terms
from server.cli import cli


@pytest.fixture
def study(repository: Path) -> Path:
    return repository / "examples/genomics/gedfn.yaml"


@pytest.fixture
def families(repository: Path) -> Path:
    return repository / "examples/genomics/gene_families.tsv"


def graph(*words: str | Path) -> Result:
    """The command in this process; expected failures are raised."""
    arguments = ["study", "graph", *map(str, words)]
    return CliRunner().invoke(cli, arguments, catch_exceptions=False, standalone_mode=False)


def change(study: Path, target: Path, **graph: Any) -> Path:
    value = yaml.safe_load(study.read_text())
    value["model"]["options"]["graph"] |= graph
    target.write_text(yaml.safe_dump(value))
    return target


def test_graph_of_the_example_joins_the_genes_of_a_family_and_no_others(study: Path, families: Path) -> None:
    terms = read_terms(study)
    genes: list[str] = list(terms.data.genes)  # type: ignore[union-attr]
    options = GedfnOptions.model_validate(dict(terms.model.options))
    assert isinstance(options.graph, Graph)
    joined = {frozenset((genes[one], genes[other])) for one, other in options.graph.edges}
    rows = [line.split("\t") for line in families.read_text().splitlines()[2:]]
    members: dict[str, set[str]] = {}
    for one, other, family in rows:
        members.setdefault(family, set()).update((one, other))
    pairs = {frozenset(pair) for own in members.values() for pair in itertools.combinations(own, 2)}
    assert joined == pairs
    assert set().union(*members.values()) == set(genes)


def test_printed_graph_is_that_of_the_example(study: Path, families: Path) -> None:
    found = graph(
        families, "--study", study, "--source", "Families of genes, as HGNC groups them (gene_families.tsv)"
    )
    assert yaml.safe_load(found.stdout)["graph"] == read_terms(study).model.options["graph"]
    assert "190 edges; left out: 1 with a node" in found.stderr


def test_check_agrees_with_the_same_file_only(study: Path, families: Path, tmp_path: Path) -> None:
    assert "has the 190 edges" in graph(families, "--study", study, "--check").stderr
    other = tmp_path / "other.tsv"
    other.write_bytes(families.read_bytes() + b"216\t207\tno family\n")
    with pytest.raises(TermsError, match=r"names a graph with the SHA-256 .*, this file has"):
        graph(other, "--study", study, "--check")
    edges = read_terms(study).model.options["graph"]["edges"]  # type: ignore[index, call-overload]
    with pytest.raises(TermsError, match="its edges are not those between its inputs in this file"):
        graph(families, "--study", change(study, tmp_path / "s.yaml", edges=edges[1:]), "--check")  # type: ignore[index]


def test_inputs_without_names_are_named_in_a_file(repository: Path, families: Path, tmp_path: Path) -> None:
    arrays = repository / "examples/genomics/adage.yaml"
    with pytest.raises(TermsError, match="are of kind 'arrays', which does not name the model's inputs"):
        graph(families, "--study", arrays, "--source", "HGNC")
    names = tmp_path / "names.txt"
    names.write_text("216\n107\n217\n")
    found = graph(families, "--study", arrays, "--source", "HGNC", "--names", names)
    assert yaml.safe_load(found.stdout)["graph"]["edges"] == [[0, 2]]
    names.write_text("216\n\n216\n")
    with pytest.raises(TermsError, match="expected a name on every line, each once"):
        graph(families, "--study", arrays, "--source", "HGNC", "--names", names)


def test_source_or_check_is_asked_for(study: Path, families: Path) -> None:
    with pytest.raises(click.UsageError, match="say where the graph is from with --source"):
        graph(families, "--study", study)
