"""``consilium-site data show``: a page on the site's data, for its data protection officer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from privacy.command_line import say
from privacy.errors import StorageError
from privacy.files import replace_file

if TYPE_CHECKING:
    from client.site.folder import SiteFolder


@click.command("show")
@click.argument("study", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--train", type=click.Path(path_type=Path), help="Show this file instead of the registered one.")
@click.option("--test", type=click.Path(path_type=Path), help="Show this file instead of the registered one.")
@click.option(
    "--mapping", type=click.Path(path_type=Path), help="Convert the hospital's own data, as this mapping file says."
)
@click.option("--out", type=click.Path(path_type=Path), help="Write to this file, not into the site's folder.")
@click.option(
    "--images", default=12, show_default=True, type=click.IntRange(0, 100), help="Draw so many records of an image."
)
@click.pass_obj
def data_show(
    home: SiteFolder,
    study: Path,
    train: Path | None,
    test: Path | None,
    mapping: Path | None,
    out: Path | None,
    images: int,
) -> None:
    """Write a page that shows what STUDY.yaml would train on: distributions, missing values, images, what was left out.

    It is one HTML file for the data protection officer, without scripts. It holds patients' data: it must not leave.
    """
    from client.commands.data_sources import find_files_to_check, list_source_warnings
    from client.data.inspection import inspect_files
    from client.data.showing.gather import gather
    from client.data.showing.page import render_page
    from privacy.study import read_terms

    terms = read_terms(study)
    files, changes = find_files_to_check(home, terms.data, train, test, mapping)
    paths = (files.train.resolve(), files.test.resolve())
    objections = home.open_patient_register().load_objections()
    report = inspect_files(terms.data, *paths, objections).report.add_findings(
        [*list_source_warnings(files.report), *changes]
    )
    report.require_no_mistakes()
    report = report.model_copy(update={"conversion": files.report})
    known = home.load_registry().find_exact(terms.data)
    shown = gather(
        home.config.name,
        terms,
        paths,
        report,
        objections,
        known.population if known is not None and known.train == str(paths[0]) else None,
        images,
    )
    path = out or home.log_path.parent / f"data-{terms.data.name}.html"
    replace_file(path, render_page(shown), StorageError)
    say(f"wrote {path}: it holds patients' data and must not leave this site")
