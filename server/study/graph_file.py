"""Read a public graph from a file, and write it as the option ``graph`` of a model.

The forms of a file, by its name (``.gz`` after it is unpacked):

===================  ===========================================================================================
``.tsv .csv .txt``   a list of edges, one a line: two nodes, in columns that are named by their number from 1;
                     separated by tabs, by commas in ``.csv``, by spaces where a ``.txt`` line has no tab. Lines that
                     begin with ``#`` are skipped
``.graphml``         GraphML; a node is called by its ``id``, or by an attribute (Cytoscape's is ``name``)
``.mtx``             a sparse Matrix Market file, whose rows and columns are the model's inputs in their order
===================  ===========================================================================================

Rules:

* the graph is public: nothing of patients is read here;
* an edge with a node that the study does not have is left out and counted, also what is no node, such as the names in a
  header. An edge of a node with itself is left out, because every node is joined with itself. Directions and weights
  are not used;
* what is left must have edges; the digest is that of the file as it is.

Sources: the GraphML primer (graphml.graphdrawing.org), read by networkx; Boisvert, Pozo and Remington 1996, The Matrix
Market exchange formats, read by scipy.
"""

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.layers.graph import Edge, Graph
from privacy.errors import TermsError

MAX_BYTES: Final = 512 << 20  # of a file, and of what is packed in it
_WIDTH: Final = 112


@dataclass(frozen=True)
class GraphFile:
    """The edges of a file between the inputs of a study.

    Attributes:
        edges: as a model's option holds them.
        sha256: of the file.
        strange: edges with a node that the study does not have.
        loops: edges of a node with itself.
        alone: inputs of the study without an edge.
    """

    edges: tuple[Edge, ...]
    sha256: str
    strange: int
    loops: int
    alone: int

    def make_graph(self, source: str) -> Graph:
        """Make the option of a model; ``source`` says where the file is from."""
        return Graph(source=source, sha256=self.sha256, edges=self.edges)


def read_graph_file(
    path: Path, names: Sequence[str], columns: tuple[int, int] = (1, 2), attribute: str | None = None
) -> GraphFile:
    """Read the edges between the inputs that are called ``names``.

    Args:
        path: the file.
        names: of the model's inputs, in their order.
        columns: of a list of edges: those of the two nodes, from 1.
        attribute: of a GraphML file: the one that names a node, instead of its id.

    Raises:
        TermsError: the file cannot be read, is not of its form, or has no edge between two of the inputs.
    """
    data, sha256 = _read_bytes(path)
    ending = Path(path.name.removesuffix(".gz")).suffix
    match ending:
        case ".tsv" | ".csv" | ".txt":
            pairs = _list_lines(path, data, ending, columns)
        case ".graphml":
            pairs = _list_graphml(path, data, attribute)
        case ".mtx":
            pairs = _list_matrix_market(path, data, names)
        case _:
            raise TermsError(f"{path}: expected a name that ends with .tsv, .csv, .txt, .graphml or .mtx")
    places = {name: place for place, name in enumerate(names)}
    found, strange, loops = set[Edge](), 0, 0
    for one, other in pairs:
        first, second = places.get(one), places.get(other)
        if first is None or second is None:
            strange += 1
        elif first == second:
            loops += 1
        else:
            found.add((min(first, second), max(first, second)))
    if not found:
        raise TermsError(
            f"{path}: has no edge between two inputs of the study ({strange} edges have another node); are its nodes "
            "called otherwise, such as by another kind of identifier, or are they in other columns?"
        )
    alone = len(names) - len({node for edge in found for node in edge})
    return GraphFile(tuple(sorted(found)), sha256, strange, loops, alone)


def format_graph(graph: Graph) -> str:
    """Write the lines of a study file for a graph, as they stand under ``model.options``."""
    import json

    lines = [
        f"graph:\n  source: {json.dumps(graph.source, ensure_ascii=False)}\n  sha256: {graph.sha256}\n  edges: ["
    ]
    pieces = [f"[{one}, {other}], " for one, other in graph.edges]
    pieces[-1] = pieces[-1].removesuffix(", ") + "]"
    line = "    "
    for piece in pieces:
        if len(line) + len(piece) > _WIDTH:
            lines.append(line.rstrip())
            line = "    "
        line += piece
    return "\n".join([*lines, line]) + "\n"


def _read_bytes(path: Path) -> tuple[bytes, str]:
    """Return what is in the file, unpacked, and the SHA-256 of the file as it is."""
    try:
        with path.open("rb") as file:
            packed = file.read(MAX_BYTES + 1)
        data = packed
        if path.name.endswith(".gz"):
            with gzip.open(io.BytesIO(packed)) as unpacked:
                data = unpacked.read(MAX_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise TermsError(f"{path}: is no whole gzip file") from None
    except OSError as cause:
        raise TermsError(f"{path}: cannot be read: {cause.strerror}") from None
    if len(data) > MAX_BYTES:
        raise TermsError(f"{path}: expected at most {MAX_BYTES} bytes")
    return data, hashlib.sha256(packed).hexdigest()


def _list_lines(path: Path, data: bytes, ending: str, columns: tuple[int, int]) -> Iterator[tuple[str, str]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TermsError(f"{path}: expected text in UTF-8") from None
    first, second = columns
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        delimiter = "," if ending == ".csv" else "\t" if ending == ".tsv" or "\t" in line else None
        fields = [field.strip().strip('"') for field in line.split(delimiter)]
        if len(fields) < max(columns):
            raise TermsError(
                f"{path}: line {number}: expected at least {max(columns)} fields, got {len(fields)}; say which columns "
                "have the nodes: --columns"
            )
        yield fields[first - 1], fields[second - 1]


def _list_graphml(path: Path, data: bytes, attribute: str | None) -> Iterator[tuple[str, str]]:
    import networkx

    try:
        graph = networkx.read_graphml(io.BytesIO(data))
    except Exception as cause:  # the library raises many: of XML, of unknown keys, of types
        raise TermsError(f"{path}: is no GraphML file that can be read ({type(cause).__name__})") from None
    called = {
        node: str(node if attribute is None else words.get(attribute, "")) for node, words in graph.nodes(data=True)
    }
    if attribute is not None and not any(called.values()):
        raise TermsError(f"{path}: no node has the attribute '{attribute}'")
    for edge in graph.edges():
        yield called[edge[0]], called[edge[1]]


def _list_matrix_market(path: Path, data: bytes, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    from scipy.io import mminfo, mmread

    try:
        rows, columns, _, form, _, _ = mminfo(io.BytesIO(data))
        if form == "coordinate" and (rows, columns) == (len(names), len(names)):
            matrix = mmread(io.BytesIO(data), spmatrix=False)
    except Exception as cause:  # the library raises ValueError, OverflowError, MemoryError and its own
        raise TermsError(f"{path}: is no Matrix Market file that can be read ({type(cause).__name__})") from None
    if form != "coordinate":
        raise TermsError(f"{path}: expected a sparse matrix (coordinate), got a dense one ({form})")
    if (rows, columns) != (len(names), len(names)):
        raise TermsError(
            f"{path}: expected a row and a column for each of the study's {len(names)} inputs, got {rows} x {columns}"
        )
    for row, column, value in zip(*(each.tolist() for each in (*matrix.coords, matrix.data)), strict=True):
        if value != 0:
            yield names[row], names[column]
