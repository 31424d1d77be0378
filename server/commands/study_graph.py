"""``consilium study graph``: read a public graph for a model, and write it as the model's option."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from privacy.command_line import say
from privacy.errors import TermsError

if TYPE_CHECKING:
    from privacy.study import Terms


@click.command()
@click.argument("file", metavar="GRAPH", type=click.Path(path_type=Path))
@click.option(
    "--study",
    metavar="STUDY.yaml",
    required=True,
    type=click.Path(path_type=Path),
    help="Whose inputs are the nodes.",
)
@click.option("--source", help="Where the file is from, in words; it will stand in the study.")
@click.option(
    "--names", "listed", type=click.Path(path_type=Path),
    help="The inputs' names, one a line, where the contract does not name them.",
)  # fmt: skip
@click.option(
    "--columns", nargs=2, type=click.IntRange(1, 1000), default=(1, 2), show_default=True,
    help="Of a list of edges: where the two nodes are.",
)  # fmt: skip
@click.option("--attribute", help="Of a GraphML file: what names a node, instead of its id.")
@click.option("--check", is_flag=True, help="Write nothing; compare GRAPH with the graph in STUDY.yaml.")
def graph(
    file: Path,
    study: Path,
    source: str | None,
    listed: Path | None,
    columns: tuple[int, int],
    attribute: str | None,
    check: bool,
) -> None:
    """Write the public graph GRAPH as the option of a model, as in: graph: {source, sha256, edges}.

    GRAPH is a list of edges (.tsv, .csv, .txt), GraphML or a Matrix Market file. Only edges between two inputs of the
    study are taken. It must be public: it goes into the terms, which everybody reads.
    """
    from pydantic import ValidationError

    from privacy.study import read_terms

    if (source is None) != check:
        raise click.UsageError("say where the graph is from with --source, or compare it with --check")
    from server.study.graph_file import format_graph, read_graph_file

    terms = read_terms(study)
    found = read_graph_file(file, _list_names(terms, listed), columns, attribute)
    if check:
        _require_same(terms, study, found.sha256, found.edges)
        say(f"{study} has the {len(found.edges)} edges of {file}, whose SHA-256 it names")
        return
    try:
        text = format_graph(found.make_graph(source or ""))
    except ValidationError as cause:
        raise TermsError(f"{file}: {cause.errors(include_url=False)[0]['msg']}") from None
    click.echo(text, nl=False)
    say(
        f"{len(found.edges)} edges; left out: {found.strange} with a node that the study does not have, {found.loops} "
        f"of a node with itself; {found.alone} inputs have no edge. Put it under model.options"
    )


def _list_names(terms: Terms, listed: Path | None) -> Sequence[str]:
    """Return the names of the model's inputs, in their order.

    Raises:
        TermsError: nothing names them, or they cannot be read.
    """
    from privacy.study.data.expression import ExpressionContract

    if listed is None:
        if isinstance(terms.data, ExpressionContract):
            return terms.data.genes
        raise TermsError(
            f"the data of '{terms.name}' are of kind '{terms.data.kind}', which does not name the model's inputs; name "
            "them in a file, one a line: --names"
        )
    try:
        names = listed.read_text(encoding="utf-8-sig").split("\n")
    except OSError as cause:
        raise TermsError(f"{listed}: cannot be read: {cause.strerror}") from None
    except UnicodeDecodeError:
        raise TermsError(f"{listed}: expected text in UTF-8, one name a line") from None
    names = [name.strip() for name in names]
    while names and not names[-1]:
        names.pop()
    if not names or not all(names) or len(set(names)) < len(names):
        raise TermsError(f"{listed}: expected a name on every line, each once")
    return names


def _require_same(terms: Terms, study: Path, sha256: str, edges: Sequence[tuple[int, int]]) -> None:
    """Refuse a study whose graph is another one.

    Raises:
        TermsError: it has none, or another.
    """
    written = terms.model.options.get("graph")
    if not isinstance(written, dict):
        raise TermsError(f"{study}: has no graph under model.options to compare with")
    if written.get("sha256") != sha256:
        raise TermsError(
            f"{study}: names a graph with the SHA-256 {written.get('sha256')}, this file has {sha256}; get the file "
            "that the study names"
        )
    if written.get("edges") != [list(edge) for edge in edges]:
        raise TermsError(
            f"{study}: its edges are not those between its inputs in this file; make the graph again, or ask who wrote "
            "the study with what --columns, --names or --attribute it was made"
        )
