"""``consilium-site explain``: why a released model says what it says of a patient; at the site only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import click

from privacy.command_line import print_table, say
from privacy.errors import ReleaseError

if TYPE_CHECKING:
    from client.prediction.explanation.explain import Asked, Explained
    from client.prediction.explanation.explanation_file import Average
    from client.prediction.release_contract import ReleaseContract

_SHOWN: Final = 20  # rows at the terminal
_SUFFIXES: Final = (".csv", ".npz", ".png")
_USUAL: Final = "usual"
_METHODS: Final = (_USUAL, "saliency", "temporal", "max-entropy", "motif")


@click.command()
@click.argument("folder", metavar="RELEASE", type=click.Path(path_type=Path))
@click.argument("path", metavar="[DATA]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--mapping",
    type=click.Path(path_type=Path),
    help="Instead of DATA: convert the hospital's own data, as this mapping file says.",
)
@click.option("--patient", help="Explain every record of this patient.")
@click.option("--summary", is_flag=True, help="Explain all patients, on average.")
@click.option("--of", "place", type=int, help="Explain this class, label, cause or code, by its number from 0.")
@click.option(
    "--method",
    type=click.Choice(_METHODS),
    default=_USUAL,
    show_default=True,
    help="For models of one-hot letters of DNA: saliency, temporal (scores of beginnings and ends), max-entropy "
    "(letters that the last hidden layer needs), or motif (letters of a class, without DATA).",
)
@click.option(
    "--beta",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Of max-entropy: how strictly the layer must stay.",
)
@click.option(
    "--gc",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="Of max-entropy: the genome's share of G and C.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Write this new file: .csv, .npz (arrays) or .png.")
def explain(
    folder: Path,
    path: Path | None,
    mapping: Path | None,
    patient: str | None,
    summary: bool,
    place: int | None,
    method: str,
    beta: float,
    gc: float,
    out: Path | None,
) -> None:
    """Say which inputs moved the model in RELEASE for a patient of DATA, or for all of them.

    Attention where the model has it, integrated gradients of numbers, occlusion of images, ids and flags left out one
    at a time. A positive number raises the score. It shows what the model uses, not what makes people ill.

    With --method, models of DNA are asked in other ways; of them motif needs no data.

    A page of a patient stays at the site: it shows their data.
    """
    from client.commands.mapped_data import open_mapped
    from client.prediction.release_contract import read_contract

    if out is not None and out.suffix not in _SUFFIXES:
        raise click.UsageError(f"--out {out.name}: expected a name that ends with {', '.join(_SUFFIXES)}")
    if method == "motif":
        if path is not None or mapping is not None or patient is not None or summary:
            raise click.UsageError(
                "--method motif needs no data: leave out DATA, --mapping, --patient and --summary"
            )
        _show_motif(folder, place, out)
        say("what the model uses, not a cause of anything; research output, no advice about any patient")
        return
    if (path is None) == (mapping is None):
        raise click.UsageError("name DATA, a file of the contract, or --mapping, which leads to it; one of them")
    if (patient is None) != summary:
        raise click.UsageError("name one patient with --patient ID, or all of them with --summary")
    if summary and method in ("temporal", "max-entropy"):
        raise click.UsageError(f"--method {method} explains a patient: name one with --patient ID")
    if summary and out is not None and out.suffix == ".npz":
        raise click.UsageError("--summary is a table or a picture: name a .csv or a .png")
    from client.prediction.explanation.explain import Asked
    from client.prediction.explanation.letters import Chance, Method

    chosen = None if method == _USUAL else cast(Method, method)
    asked = Asked(place, chosen, Chance(beta, gc))
    contract = read_contract(folder)
    if path is not None:
        _explain_file(folder, contract, path, patient, asked, out)
    elif mapping is not None:
        with open_mapped(contract.data, mapping, with_targets=False) as records:
            _explain_file(folder, contract, records, patient, asked, out)
    say("what the model uses, not a cause of anything; research output, no advice about any patient")


def _explain_file(
    folder: Path, contract: ReleaseContract, path: Path, patient: str | None, asked: Asked, out: Path | None
) -> None:
    """Explain a patient of a file, or all of them where none is named."""
    from client.commands.release_data import report_counts, require_usable
    from client.prediction.explanation.explain import explain_all, explain_patient, read_explained_data
    from client.prediction.predict import load_model

    contents, module = read_explained_data(contract, path), load_model(folder, contract)
    require_usable(contract, path, contents.mistakes)
    report_counts(contract, (), contents.counts)
    if patient is not None:
        _show_patient(contract, explain_patient(contract, module, contents, patient, asked), out)
    else:
        _show_average(contract, explain_all(contract, module, contents, asked, say), out)


def _show_motif(folder: Path, place: int | None, out: Path | None) -> None:
    from client.commands.release_data import write_new
    from client.prediction.explanation.explanation_file import (
        MOTIF_HEADINGS,
        format_motif_array,
        format_rows,
        list_motif,
    )
    from client.prediction.explanation.letters import find_motif
    from client.prediction.predict import load_model
    from client.prediction.release_contract import read_contract

    contract = read_contract(folder)
    motif = find_motif(contract, load_model(folder, contract), place)
    say(f"{motif.score}: letters that it grows with most")
    if out is None:
        _print_rows(MOTIF_HEADINGS, list_motif(motif))
    elif out.suffix == ".csv":
        text = format_rows(MOTIF_HEADINGS, list_motif(motif))
        write_new(out, lambda file: file.write(text.encode("utf-8")))
    elif out.suffix == ".npz":
        data = format_motif_array(motif)
        write_new(out, lambda file: file.write(data))
    else:
        from client.prediction.explanation.picture import draw_map

        picture = draw_map(motif.shares, "A, C, G, T", f"{motif.score}: letters that it grows with most", "share")
        write_new(out, lambda file: file.write(picture))


def _show_patient(contract: ReleaseContract, found: Explained, out: Path | None) -> None:
    from client.commands.release_data import write_new
    from client.prediction.explanation.explanation_file import (
        HEADINGS,
        format_explanation_arrays,
        format_rows,
        list_rows,
    )

    rows = [
        row
        for record, inputs, explanation in zip(found.records, found.inputs, found.explanations, strict=True)
        for row in list_rows(contract, record, inputs, explanation)
    ]
    for record, explanation in zip(found.records, found.explanations, strict=True):
        start = "" if explanation.baseline is None else f"; of the baseline {explanation.baseline:.4f}"
        say(f"record {record}: {explanation.score} {explanation.value:.4f}{start}")
    if out is None:
        _print_rows(HEADINGS, rows)
    elif out.suffix == ".csv":
        text = format_rows(HEADINGS, rows)
        write_new(out, lambda file: file.write(text.encode("utf-8")))
    elif out.suffix == ".npz":
        data = format_explanation_arrays(found.explanations)
        write_new(out, lambda file: file.write(data))
    else:
        picture = _draw_patient(contract, found)
        write_new(out, lambda file: file.write(picture))


def _show_average(contract: ReleaseContract, average: Average, out: Path | None) -> None:
    from client.commands.release_data import write_new
    from client.prediction.explanation.explanation_file import SUMMARY_HEADINGS, format_rows

    rows = average.list_rows()
    say(f"means over {average.patients} patients")
    if out is None:
        _print_rows(SUMMARY_HEADINGS, rows)
    elif out.suffix == ".csv":
        text = format_rows(SUMMARY_HEADINGS, rows)
        write_new(out, lambda file: file.write(text.encode("utf-8")))
    else:
        from client.prediction.explanation.picture import draw_bars

        title = f"{contract.study}: what the model uses, mean size over {average.patients} patients"
        picture = draw_bars(
            [f"{row.input} {row.place}".strip() for row in rows], [row.mean_size for row in rows], title
        )
        write_new(out, lambda file: file.write(picture))


def _print_rows(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    shown = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows[:_SHOWN]]
    print_table(headings, shown)
    if len(rows) > _SHOWN:
        say(f"and {len(rows) - _SHOWN} more rows: --out FILE.csv")


def _draw_patient(contract: ReleaseContract, found: Explained) -> bytes:
    """Draw a patient's record: the image, else a map of the input with most values, or the columns of a table."""
    from client.prediction.columns import list_columns
    from client.prediction.explanation.attributions import is_image
    from client.prediction.explanation.explanation_file import list_rows
    from client.prediction.explanation.picture import draw_bars, draw_image, draw_map
    from models.catalogue import find_model

    if len(found.records) > 1:
        raise ReleaseError(
            f"a picture shows one record, and the patient has {len(found.records)} in DATA; write a .csv or .npz"
        )
    explanation, inputs = found.explanations[0], found.inputs[0]
    title = f"{explanation.score} {explanation.value:.3f}"
    images = [each.name for each in find_model(contract.model.name).inputs if is_image(each)]
    if list_columns(contract.data) and not images:
        rows = list_rows(contract, 0, inputs, explanation)
        return draw_bars([f"{row.input} = {row.value}" for row in rows], [row.attribution for row in rows], title)
    if images:
        return draw_image(inputs[images[0]][0].numpy(), explanation.attributions[images[0]], title)
    name = max(explanation.attributions, key=lambda each: explanation.attributions[each].size)
    return draw_map(explanation.attributions[name], name, title)
