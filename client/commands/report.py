"""``consilium-site report``: a released model on one page, for clinicians."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from privacy.command_line import say

if TYPE_CHECKING:
    from client.prediction.release_contract import ReleaseContract
    from client.release_report.make_report import TestPatients
    from client.release_report.own_groups import OwnGroups
    from client.release_report.subgroups import Bands
    from client.site.folder import SiteFolder


@click.command()
@click.argument("folder", metavar="RELEASE", type=click.Path(path_type=Path))
@click.argument("path", metavar="[DATA]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--mapping",
    type=click.Path(path_type=Path),
    help="Instead of DATA: convert the hospital's own data, as this mapping file says.",
)
@click.option(
    "--calibration", "kept", type=click.Path(path_type=Path), help="Show these calibrated probabilities too."
)
@click.option("--subgroup", "asked", multiple=True, help="Only this column or input of the contract. Repeat.")
@click.option(
    "--bands", "limits", multiple=True, help="Groups of a column of numbers of the contract: age=40,65. Repeat."
)
@click.option(
    "--groups",
    type=click.Path(path_type=Path),
    help="The site's own groups, such as wards: a mapping file of a table, with groups.",
)
@click.option(
    "--pictures",
    default=0,
    type=click.IntRange(0, 50),
    help="Draw so many records of a segmentation, with both outlines.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The new HTML file.")
@click.pass_obj
def report(
    home: SiteFolder,
    folder: Path,
    path: Path | None,
    mapping: Path | None,
    kept: Path | None,
    asked: tuple[str, ...],
    limits: tuple[str, ...],
    groups: Path | None,
    pictures: int,
    out: Path,
) -> None:
    """Write a page on the released model in RELEASE: what it is, for whom, how good it is here, its limits.

    DATA is a file with labels, of patients that the model was not trained on. Without it, and without --mapping, the
    site's own test file is taken, as it was registered. Of what a mapping leads to, patients of the site's registered
    training file are left out. Groups of fewer than ten patients have no figures. The page has figures of this site's
    patients without noise: it stays at the site.
    """
    from client.commands.mapped_data import open_mapped
    from client.prediction.release_contract import read_contract

    if path is not None and mapping is not None:
        raise click.UsageError("--mapping names the data; leave out DATA")
    from client.release_report.make_report import find_test_patients, read_labelled, read_mapped
    from client.release_report.subgroups import read_bands

    bands, contract = [read_bands(each) for each in limits], read_contract(folder)
    own_groups = None if groups is None else _read_own_groups(contract, groups)
    if mapping is not None:
        with open_mapped(contract.data, mapping, with_targets=True) as records:
            patients = read_mapped(home, contract, records)
            if patients.known:
                say(f"{patients.known} patients are left out: the model was trained on them here")
            _write(folder, patients, kept, asked, bands, own_groups, pictures, out)
    else:
        patients = find_test_patients(home, folder) if path is None else read_labelled(folder, path)
        _write(folder, patients, kept, asked, bands, own_groups, pictures, out)


def _read_own_groups(contract: ReleaseContract, path: Path) -> OwnGroups:
    """Read the groups of patients to which the mapping file ``path`` leads.

    Raises:
        DataUnavailableError, DataError, SiteConfigError, StorageError: it cannot be used, or its source.
    """
    from client.commands.mapped_data import open_mapped
    from client.commands.release_data import refuse_mistakes
    from client.data.site_data import read_contents
    from client.release_report.own_groups import OwnGroups, make_group_contract, read_group_rules

    rules = read_group_rules(path)
    rows = make_group_contract(contract.data, rules, path)
    with open_mapped(rows, path, with_targets=False, warns=False) as records:
        contents = read_contents(rows, records, with_targets=False)
        refuse_mistakes(path, contents.mistakes)
        return OwnGroups(rows, rules, contents)


def _write(
    folder: Path,
    patients: TestPatients,
    kept: Path | None,
    asked: Sequence[str],
    bands: Sequence[Bands],
    own_groups: OwnGroups | None,
    pictures: int,
    out: Path,
) -> None:
    """Write the page on ``patients``, if their file can be used."""
    from client.commands.release_data import report_counts, require_usable, write_new
    from client.release_report.make_report import make_report

    require_usable(patients.contract, patients.path, patients.mistakes)
    report_counts(patients.contract, (), patients.counts)
    if own_groups is not None and (unknown := own_groups.count_unknown(patients.contents.ids)):
        say(f"{unknown} patients have no row in the groups; they count as missing there")
    page = make_report(folder, patients, kept, asked, bands, own_groups, pictures)
    write_new(out, lambda file: file.write(page))
    say(f"wrote {out}, on {patients.count} patients; it is for this site's people")
