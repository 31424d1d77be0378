"""``consilium demo``: run the demonstration on this machine."""

from pathlib import Path

import click

from privacy.command_line import print_json


@click.command()
@click.option("--model", help="A model of the catalogue, on generated records, or on the hospitals of --data.")
@click.option("--task", help="With --model: another of its tasks.")
@click.option("--study", type=click.Path(path_type=Path), help="With --data: your own study file.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="A folder with one folder for each hospital, with train and test files, or its own data and mapping.yaml; or "
    "the four UCI heart files.",
)
@click.option("--weights", type=click.Path(path_type=Path), help="The public weights that the study begins with.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Make the federation here, not in /tmp.")
@click.option("--keep", is_flag=True, help="Leave the folder for inspection.")
@click.option("--epsilon", default="3", show_default=True, help="The study's epsilon, or 'none': no privacy.")
@click.option("--rounds", type=click.IntRange(1, 1000), help="Instead of the study's own number.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def demo(
    model: str | None,
    task: str | None,
    study: Path | None,
    data: Path | None,
    weights: Path | None,
    folder: Path | None,
    keep: bool,
    epsilon: str,
    rounds: int | None,
    as_json: bool,
) -> None:
    """Several hospitals on this machine train one model together, for real."""
    from server.demo.demo import Demo
    from server.demo.sources import DemoChoice

    choice = DemoChoice(model, task, study, data, folder, keep, epsilon, rounds, weights)
    result = Demo(choice, quiet=as_json).run()
    if as_json:
        print_json(result.model_dump(mode="json"))
