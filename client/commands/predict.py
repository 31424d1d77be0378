"""``consilium-site predict``: apply a released model to a table; only the release folder is needed."""

import csv
import io
from pathlib import Path

import click

from client.data.adapters.csv import Mistake
from client.data.plausibility import describe_probable_meaning, format_word
from client.prediction.release_contract import ReleaseContract, read_contract
from privacy.command_line import say
from privacy.errors import DataError, ReleaseError


@click.command()
@click.argument("folder", metavar="RELEASE", type=click.Path(path_type=Path))
@click.argument("table", metavar="TABLE.csv", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the predictions to this new file, not to stdout."
)
def predict(folder: Path, table: Path, out: Path | None) -> None:
    """Say how probable a positive label is for each record of TABLE.csv, by the released model in RELEASE.

    RELEASE is a study's release folder; no site is needed. TABLE.csv has the columns of the study, and needs no label.
    Writes CSV: the patient, the probability, and the class at the model's threshold. Research output, no medical
    advice.
    """
    contract = read_contract(folder)
    from client.prediction.predict import load_model
    from client.prediction.predict import predict as predicted

    found = predicted(contract, load_model(folder, contract), table)
    for mistake in found.mistakes:
        _report_mistake(contract, mistake)
    if found.mistakes:
        listed = "; ".join(mistake.sentence for mistake in found.mistakes)
        raise DataError(f"{table}: is not a table that this model can be used on: {listed}")
    for suspicion in found.suspicions:
        say(f"warning: {suspicion}")
    for count in found.counts:
        if count.missing or count.below + count.above:
            clipped = count.below + count.above
            say(f"column '{count.name}': {count.missing} of {count.rows} missing, {clipped} clipped to the range")
    text = _format_csv(contract, found.patients, found.probabilities.tolist())
    if out is None:
        click.echo(text, nl=False)
    else:
        _write_predictions(out, text)
    if contract.model.personal:
        say(f"the layers {', '.join(contract.model.personal)} have their first values: each site trained its own")
    if contract.positive_weight != 1:
        say(
            f"trained with a positive_weight of {contract.positive_weight:g}: its probabilities are scores, good for "
            "order and threshold only"
        )
    say(
        f"{len(found.patients)} records of '{contract.study}'; class at the threshold {contract.threshold.value:g} "
        f"({contract.threshold.chosen}). Research output: not a medical device, no advice about any patient"
    )


def _format_csv(contract: ReleaseContract, patients: tuple[str, ...], probabilities: list[float]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    label = contract.data.label
    writer.writerow([contract.data.patient, "probability", "class"])
    for patient, probability in zip(patients, probabilities, strict=True):
        words = label.positive if probability >= contract.threshold.value else label.negative
        writer.writerow([patient, f"{probability:.6f}", words[0]])
    return out.getvalue()


def _write_predictions(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as cause:
        raise ReleaseError(f"{path}: cannot be written: {cause.strerror}; name a new file") from None


def _report_mistake(contract: ReleaseContract, mistake: Mistake) -> None:
    say(f"mistake: {mistake.sentence}")
    for place in mistake.places:
        say(f"    line {place.line}: {format_word(place.word)}")
    if mistake.column and mistake.words:
        say(f"    {describe_probable_meaning(contract.data, mistake.column, mistake.words)}")
