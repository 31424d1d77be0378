"""``consilium study schema``: print the JSON schema of a study file, for editors."""

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON schema of a study file, for editors that check while one types.

    Save it, and begin the study file with: # yaml-language-server: $schema=study.schema.json
    """
    from privacy.study.schema import build_study_schema

    click.echo(json.dumps(build_study_schema(), indent=2, ensure_ascii=False))
