"""``consilium-site init``: make a site."""

from pathlib import Path

import click

from privacy.command_line import say


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="What others call this site: lower-case letters, digits, hyphens.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
def init(folder: Path, name: str, device: str) -> None:
    """Make a site in DIR: its keys, its ledger, its policy (policy.yaml)."""
    from client.site.folder import SiteFolder

    home = SiteFolder.create(folder, name, device)
    say(
        f"made the site '{name}' in {folder}, where every study waits for a person; read {folder}/policy.yaml and "
        "set its policy"
    )
    say("its identity key, to be compared with other sites' people:")
    click.echo(home.load_identity().public.typed)
