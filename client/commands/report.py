"""``consilium-site report``: a released model on one page, for clinicians."""

from pathlib import Path

import click

from client.commands.release_data import report_counts, require_usable, write_new
from client.site.folder import SiteFolder
from privacy.command_line import say


@click.command()
@click.argument("folder", metavar="RELEASE", type=click.Path(path_type=Path))
@click.argument("path", metavar="[DATA]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--calibration", "kept", type=click.Path(path_type=Path), help="Show these calibrated probabilities too."
)
@click.option("--subgroup", "asked", multiple=True, help="Only this column or input of the contract. Repeat.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The new HTML file.")
@click.pass_obj
def report(
    home: SiteFolder, folder: Path, path: Path | None, kept: Path | None, asked: tuple[str, ...], out: Path
) -> None:
    """Write a page on the released model in RELEASE: what it is, for whom, how good it is here, its limits.

    DATA is a file with labels, of patients that the model was not trained on. Without it, the site's own test file is
    taken, as it was registered. The page has figures of this site's patients without noise: it stays at the site.
    """
    from client.release_report.make_report import find_test_patients, make_report, read_labelled

    patients = find_test_patients(home, folder) if path is None else read_labelled(folder, path)
    require_usable(patients.contract, patients.path, patients.mistakes)
    report_counts(patients.contract, (), patients.counts)
    page = make_report(folder, patients, kept, asked)
    write_new(out, lambda file: file.write(page))
    say(f"wrote {out}, on {patients.count} patients; it is for this site's people")
