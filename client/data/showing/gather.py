"""Gather everything that the page on a site's data shows: from both files, the check and the conversion."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from client.data.contents import Contents
from client.data.conversion.report import SnapshotReport
from client.data.inspection import CheckReport
from client.data.objections import Objections
from client.data.showing.bars import Distribution
from client.data.showing.measure import Beyond, count_records, measure
from client.data.showing.page import FileFacts, Shown
from client.data.showing.thumbnails import draw_records, is_image
from client.data.showing.views import View, list_views
from client.data.site_data import read_contents
from privacy.errors import DataError
from privacy.study import Terms
from privacy.study.data.tensors import Numbers

_MOST_PICTURED: Final = 4  # tensors of which records are drawn


def gather(
    site: str,
    terms: Terms,
    files: tuple[Path, Path],
    report: CheckReport,
    objections: Objections,
    population: str | None,
    pictures: int,
) -> Shown:
    """Count and draw what the training and the test file hold.

    Args:
        site: its name.
        terms: the study's.
        files: the training file and the test file.
        report: of the check of these files.
        objections: who objects.
        population: whose patients they are; None before they are registered.
        pictures: how many records of an image are drawn.

    Raises:
        DataUnavailableError: a file cannot be read now.
        DataError: a file breaks the contract.
    """
    contract = terms.data
    training, test = (_read_usable(terms, path) for path in files)
    views, tensors = list_views(contract), (*contract.list_inputs(), *contract.list_targets())
    arrays = tuple({**contents.inputs, **contents.targets} for contents in (training, test))
    beyond = tuple(_find_beyond(views, contents) for contents in (training, test))
    drawn = {
        tensor.name: draw_records(tensor, training.inputs[tensor.name], pictures)
        for tensor in [each for each in contract.list_inputs() if is_image(each)][:_MOST_PICTURED]
        if pictures and isinstance(tensor, Numbers)
    }
    return Shown(
        site=site,
        study=terms.purpose,
        contract=contract.name,
        contract_sha256=contract.digest,
        ranges_from=contract.ranges_from,
        population=population,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        training=_describe(files[0], training, objections),
        test=_describe(files[1], test, objections),
        public_patients=report.public_patients,
        distributions=_add_clipped(
            measure(views, tensors, arrays[0], arrays[1], (beyond[0], beyond[1])), report.conversion
        ),
        pictures=drawn,
        findings=report.findings,
        conversion=report.conversion,
    )


def _read_usable(terms: Terms, path: Path) -> Contents:
    contents = read_contents(terms.data, path)
    if contents.mistakes:
        listed = "; ".join(mistake.sentence for mistake in contents.mistakes)
        raise DataError(f"{path}: breaks the contract '{terms.data.name}': {listed}")
    return contents


def _describe(path: Path, contents: Contents, objections: Objections) -> FileFacts:
    records, patients, of_so_many = count_records(contents.ids)
    objecting = sum(objections.includes(name) for name in set(contents.ids)) if objections.since else 0
    return FileFacts(path.name, contents.sha256, records, patients, objecting, of_so_many)


def _find_beyond(views: Sequence[View], contents: Contents) -> Mapping[str, Beyond]:
    """Find how many numbers of each view are beyond the range, by the columns or else by the whole tensors."""
    counted = {each.name: Beyond(each.below, each.above) for each in (*contents.counts, *contents.target_counts)}
    found = dict[str, Beyond]()
    for view in views:
        if view.name in counted or (view.stop is None and view.tensor in counted):
            found[view.name] = counted.get(view.name) or counted[view.tensor]
    return found


def _add_clipped(distributions: Sequence[Distribution], conversion: SnapshotReport | None) -> list[Distribution]:
    """Add what a conversion has clipped before the files were made."""
    columns = {each.name: each for each in (() if conversion is None else conversion.columns)}
    return [
        replace(each, clipped=(columns[each.name].below, columns[each.name].above))
        if each.name in columns
        else each
        for each in distributions
    ]
