"""``consilium study new``: write the draft of a study file."""

from pathlib import Path

import click

from privacy.command_line import say
from privacy.errors import TermsError


@click.command()
@click.option(
    "--from", "source", required=True, metavar="FILE", type=click.Path(path_type=Path),
    help="A CSV table, a released model's contract.json, or another study file.",
)  # fmt: skip
@click.option("--name", help="What the study is called; without it, like the file.")
@click.option("--patient", metavar="COLUMN", help="The table's column that names the patient.")
@click.option("--label", metavar="COLUMN", help="The table's column to predict.")
@click.option("--public", is_flag=True, help="The table is public: write its ranges and words down too.")
@click.option("--out", type=click.Path(path_type=Path), help="Write to this new file, not to stdout.")
def new(
    source: Path, name: str | None, patient: str | None, label: str | None, public: bool, out: Path | None
) -> None:
    """Begin a study file from the columns of a table, or from a contract; what people must say is marked FILL.

    Of a table come names and kinds of columns, never a value, unless you say that it is public.
    """
    from server.study.draft_file import (
        make_study_name,
        read_columns,
        read_contract,
        write_from_contract,
        write_from_table,
    )

    named = name or make_study_name(source)
    if source.suffix in (".json", ".yaml", ".yml"):
        if patient is not None or label is not None or public:
            raise click.UsageError("--patient, --label and --public are of a table; a contract says so itself")
        text = write_from_contract(named, read_contract(source), source)
    else:
        text = write_from_table(named, read_columns(source), source, patient=patient, label=label, public=public)
    if out is None:
        click.echo(text, nl=False)
    else:
        try:
            with out.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as cause:
            raise TermsError(f"{out}: cannot be written: {cause.strerror}; name a new file") from None
    if public:
        say(f"ranges and words are those of {source}, which you say is public; round them")
    elif source.suffix not in (".json", ".yaml", ".yml"):
        say(
            f"took names and kinds of columns of {source} and no value; fill in ranges and words from what is known "
            "without looking at patients"
        )
    say(f"{text.count('FILL:')} places to fill in, marked FILL; then: consilium study check {out or 'FILE'}")
