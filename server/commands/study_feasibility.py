"""``consilium study feasibility`` and ``statistics``: ask what patients sites have, and show what they answered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from privacy.command_line import print_json, say
from privacy.errors import FederationError, TermsError

if TYPE_CHECKING:
    from models.tasks.statistics_document import Statistics
    from privacy.study import Terms
    from server.federation.folder import Federation
    from server.federation.profile import Profile


@click.command()
@click.argument("file", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--epsilon", type=float, help="What the answer may cost each patient; needed if STUDY.yaml trains.")
@click.option("--delta", type=float, help="Its delta; without it, that of STUDY.yaml.")
@click.option("--bins", type=click.IntRange(2, 100), help="Bins of a number's range.  [default: 10]")
@click.option("--column", "columns", multiple=True, help="Count this column; repeat. Without it: all of them.")
@click.option("--pair", "pairs", multiple=True, type=(str, str), help="Correlate two columns; repeat.")
@click.option("--difference", "differences", multiple=True, help="Ask how much sites differ in a column; repeat.")
@click.option("--site", "names", multiple=True, help="Invite this site; repeat. Without it: all enrolled sites.")
@click.option(
    "--terms", "terms_file", type=click.Path(path_type=Path), help="Only write the study file; ask nobody."
)
@click.option("--out", type=click.Path(path_type=Path), help="The page.  [default: STUDY.html]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, too.")
@click.pass_obj
def feasibility(
    place: Federation | Profile,
    file: Path,
    epsilon: float | None,
    delta: float | None,
    bins: int | None,
    columns: tuple[str, ...],
    pairs: tuple[tuple[str, str], ...],
    differences: tuple[str, ...],
    names: tuple[str, ...],
    terms_file: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Ask sites how many patients STUDY.yaml would have and what they are like; write a page of plots.

    This is a short study of its own: every site admits it by its policy, sums are sealed, sites add noise together, and
    epsilon is charged to the patients. STUDY.yaml is a study that trains, or one of task.kind: statistics. If people at
    sites must agree first, this may be left waiting, or ended with Ctrl-C: the study goes on, and 'study statistics'
    writes the page later.
    """
    from privacy.study import read_terms
    from server.commands.launching import launch
    from server.commands.study_results import follow

    terms = read_terms(file)
    asked = (epsilon, delta, bins, columns, pairs, differences)
    if not terms.counts_only:
        terms = _derive(file, terms, *asked)
    elif any(each not in (None, ()) for each in asked):
        raise click.UsageError(f"{file} says itself what is counted and what it costs; leave these options out")
    if terms_file is not None:
        _write_terms(terms_file, terms)
        say(f"wrote {terms_file}; look at it, then: consilium study feasibility {terms_file}")
        return
    study = launch(place, terms, names)
    say(f"'{study}' is launched; if this ends early: consilium study statistics {study}")
    follow(place, study, quiet=as_json)
    _show(place, study, out, as_json=as_json)


@click.command()
@click.argument("name", metavar="STUDY")
@click.option("--out", type=click.Path(path_type=Path), help="The page.  [default: STUDY.html]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, too.")
@click.pass_obj
def statistics(place: Federation | Profile, name: str, out: Path | None, as_json: bool) -> None:
    """Write the page of STUDY, a finished study of statistics."""
    _show(place, name, out, as_json=as_json)


def _derive(
    file: Path,
    terms: Terms,
    epsilon: float | None,
    delta: float | None,
    bins: int | None,
    columns: tuple[str, ...],
    pairs: tuple[tuple[str, str], ...],
    differences: tuple[str, ...],
) -> Terms:
    from server.feasibility.derive import derive_statistics_terms

    if epsilon is None:
        raise click.UsageError(
            f"{file} trains a model, so it does not say what its feasibility may cost; name an --epsilon, such as 0.5"
        )
    return derive_statistics_terms(
        terms, epsilon=epsilon, delta=delta, bins=bins, columns=columns, pairs=pairs, differences=differences
    )


def _write_terms(file: Path, terms: Terms) -> None:
    import yaml

    fields = terms.model_dump(mode="json", exclude={"model", "training", "evaluation", "release"})
    fields["privacy"] = {name: fields["privacy"][name] for name in ("epsilon", "delta")}
    _write_file(file, yaml.safe_dump(fields, sort_keys=False, allow_unicode=True).encode("utf-8"), new=True)


def _show(place: Federation | Profile, study: str, out: Path | None, *, as_json: bool) -> None:
    from server.feasibility.page import render_page

    found = _read_statistics(place, study)
    page = Path(f"{study}.html") if out is None else out
    _write_file(page, render_page(found))
    say(f"wrote {page}")
    if as_json:
        print_json(found.model_dump(mode="json"))


def _read_statistics(place: Federation | Profile, study: str) -> Statistics:
    """Read what a study of statistics has found.

    Raises:
        FederationError: it trains, or has found nothing yet.
    """
    from server.commands.connect import read_study_results

    results = read_study_results(place, study)
    if results.terms.task != "statistics":
        raise FederationError(f"the study '{study}' trains a model; look at it with: consilium study show {study}")
    if results.statistics is None:
        why = f" ({results.why})" if results.why else ""
        raise FederationError(
            f"the study '{study}' is {results.standing}{why} and has no statistics yet; follow it with: consilium "
            f"study watch {study}"
        )
    return results.statistics


def _write_file(file: Path, content: bytes, *, new: bool = False) -> None:
    try:
        with file.open("xb" if new else "wb") as opened:
            opened.write(content)
    except OSError as cause:
        raise TermsError(f"{file}: cannot be written: {cause.strerror}; name another file") from None
