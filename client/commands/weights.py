"""``consilium-site weights``: public weights that studies begin with, added by this site's own people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from privacy.command_line import Commands, print_json, print_table, say
from privacy.errors import SiteConfigError

if TYPE_CHECKING:
    from client.site.folder import SiteFolder
    from privacy.study import Terms


@click.group(cls=Commands)
def weights() -> None:
    """Public weights that studies begin with; nothing is fetched when a study runs."""


@weights.command("add")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--study", type=click.Path(path_type=Path), help="Take FILE only if STUDY.yaml names it and it fits.")
@click.pass_obj
def weights_add(home: SiteFolder, file: Path, study: Path | None) -> None:
    """Copy the safetensors file FILE into the site's folder, under its SHA-256."""
    from privacy.study import read_terms

    shelf = home.open_public_weights()
    if study is not None:
        _require_fitting(file, read_terms(study))
    digest = shelf.add(file)
    say("added; studies name it by its SHA-256 (model.start):")
    click.echo(digest)


@weights.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def weights_list(home: SiteFolder, as_json: bool) -> None:
    """List the public weights that this site has."""
    shelf = home.open_public_weights()
    found = [(digest, shelf.read_size(digest)) for digest in sorted(shelf.list_held())]
    if as_json:
        print_json({"weights": [{"sha256": digest, "bytes": size} for digest, size in found]})
    else:
        print_table(("SHA-256", "bytes"), [(digest, f"{size:,}") for digest, size in found])


def _require_fitting(file: Path, terms: Terms) -> None:
    from client.training.study_model import begin_model

    if terms.model.start is None:
        raise SiteConfigError(f"the study '{terms.name}' begins with no public weights (model.start)")
    begin_model(terms, file)
