"""Public graphs of several forms become the same edges; what is none is refused in one sentence."""

import contextlib
import gzip
import hashlib
from pathlib import Path

import networkx
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import mmwrite
from scipy.sparse import coo_array

from models.layers.graph import Graph
from privacy.errors import TermsError
from server.study.graph_file import format_graph, read_graph_file

NAMES = ("TP53", "MDM2", "207", "EGFR")
EDGES = ((0, 1), (1, 3), (2, 3))


def write_lines(path: Path, delimiter: str) -> Path:
    rows = [
        ("first", "second"),
        ("TP53", "MDM2"),
        ("EGFR", "MDM2"),
        ("MDM2", "TP53"),
        ("207", "EGFR"),
        ("207", "207"),
    ]
    path.write_text("# a comment\n\n" + "".join(delimiter.join(row) + "\n" for row in rows))
    return path


def write_graphml(path: Path) -> Path:
    graph = networkx.MultiDiGraph()
    for number, name in enumerate((*NAMES, "STRANGE")):
        graph.add_node(f"n{number}", name=name)
    graph.add_edges_from([("n0", "n1"), ("n1", "n0"), ("n1", "n3"), ("n3", "n2"), ("n2", "n2"), ("n4", "n0")])
    networkx.write_graphml(graph, path)
    return path


def write_matrix(path: Path) -> Path:
    matrix = np.zeros((4, 4))
    for one, other in EDGES:
        matrix[other, one] = 0.5
    matrix[2, 2] = 1
    mmwrite(path, coo_array(matrix))
    return path


@pytest.mark.parametrize(("name", "delimiter"), [("g.tsv", "\t"), ("g.csv", ","), ("g.txt", " "), ("h.txt", "\t")])
def test_list_of_edges_gives_each_edge_once_and_counts_what_is_left_out(
    tmp_path: Path, name: str, delimiter: str
) -> None:
    found = read_graph_file(write_lines(tmp_path / name, delimiter), NAMES)
    assert found.edges == EDGES
    assert (found.strange, found.loops, found.alone) == (1, 1, 0)  # the header; 207 with itself
    assert found.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_packed_list_has_the_digest_of_the_file_as_it_is(tmp_path: Path) -> None:
    plain = write_lines(tmp_path / "g.tsv", "\t")
    packed = tmp_path / "g.tsv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    found = read_graph_file(packed, NAMES)
    assert found.edges == EDGES
    assert found.sha256 == hashlib.sha256(packed.read_bytes()).hexdigest()


def test_nodes_may_be_in_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "biogrid.tsv"
    path.write_text("1\tTP53\tx\tMDM2\n2\tMDM2\tx\tEGFR\n")
    assert read_graph_file(path, NAMES, (2, 4)).edges == ((0, 1), (1, 3))
    with pytest.raises(TermsError, match=r"line 1: expected at least 5 fields, got 4; .* --columns"):
        read_graph_file(path, NAMES, (2, 5))


def test_graphml_names_nodes_by_id_or_by_an_attribute(tmp_path: Path) -> None:
    path = write_graphml(tmp_path / "g.graphml")
    found = read_graph_file(path, NAMES, attribute="name")
    assert found.edges == EDGES
    assert (found.strange, found.loops) == (1, 1)
    assert read_graph_file(path, ("n0", "n1", "n2", "n3")).edges == EDGES
    with pytest.raises(TermsError, match="no node has the attribute 'symbol'"):
        read_graph_file(path, NAMES, attribute="symbol")


def test_matrix_market_rows_are_the_inputs_in_their_order(tmp_path: Path) -> None:
    path = write_matrix(tmp_path / "g.mtx")
    assert read_graph_file(path, NAMES).edges == EDGES
    with pytest.raises(TermsError, match="a row and a column for each of the study's 3 inputs, got 4 x 4"):
        read_graph_file(path, NAMES[:3])
    mmwrite(tmp_path / "dense.mtx", np.ones((4, 4)))
    with pytest.raises(TermsError, match="expected a sparse matrix"):
        read_graph_file(tmp_path / "dense.mtx", NAMES)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("g.tsv", b"A\tB\n", r"has no edge between two inputs .*\(1 edges have another node\)"),
        ("g.tsv", b"\xff\xfe", "expected text in UTF-8"),
        ("g.tsv.gz", b"plain", "is no whole gzip file"),
        ("g.gml", b"graph [ ]", r"ends with .tsv, .csv, .txt, .graphml or .mtx"),
        ("g.graphml", b"<graphml", "is no GraphML file"),
        ("g.mtx", b"%%MatrixMarket matrix coordinate real general\n4 4 9\n1 1 1\n", "is no Matrix Market file"),
        ("absent.tsv", None, "cannot be read: No such file"),
    ],
)
def test_file_that_is_no_graph_of_these_names_is_refused(
    tmp_path: Path, name: str, data: bytes | None, message: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(TermsError, match=message):
        read_graph_file(tmp_path / name, NAMES)


def test_graphml_whose_entities_grow_without_end_is_refused(tmp_path: Path) -> None:
    """Ten entities of ten entities each: a billion letters, of a file of one page."""
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    path = tmp_path / "bomb.graphml"
    path.write_text(f'<?xml version="1.0"?><!DOCTYPE g [<!ENTITY e0 "l">{levels}]><graphml>&e9;</graphml>')
    with pytest.raises(TermsError, match="is no GraphML file"):
        read_graph_file(path, NAMES)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.sampled_from([".tsv", ".graphml", ".mtx"]), st.data())
def test_mutated_file_gives_edges_between_inputs_or_a_sentence(
    tmp_path: Path, ending: str, data: st.DataObject
) -> None:
    path = tmp_path / f"g{ending}"
    match ending:
        case ".tsv":
            write_lines(path, "\t")
        case ".graphml":
            write_graphml(path)
        case _:
            write_matrix(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(TermsError):
        found = read_graph_file(path, NAMES)
        assert found.edges
        found.make_graph("invented")  # its form is checked there


def test_written_graph_is_read_as_the_same_option() -> None:
    edges = tuple((one, one + 1) for one in range(300))
    graph = Graph(source='a "quoted" source: HINT', sha256="a" * 64, edges=edges)
    text = format_graph(graph)
    assert max(map(len, text.splitlines())) <= 120
    assert Graph.model_validate(yaml.safe_load(text)["graph"]) == graph
