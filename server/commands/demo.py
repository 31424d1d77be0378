"""``consilium demo``: run the demonstration on this machine."""

from pathlib import Path

import click

from privacy.command_line import print_json


@click.command()
@click.option("--data", type=click.Choice(["breast-cancer", "heart"]), default="breast-cancer", show_default=True)
@click.option("--path", type=click.Path(path_type=Path), help="With heart: the folder of the four UCI files.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Make the federation here, not in /tmp.")
@click.option("--keep", is_flag=True, help="Leave the folder for inspection.")
@click.option("--epsilon", default="3", show_default=True, help="The study's epsilon, or 'none': no privacy.")
@click.option("--rounds", type=click.IntRange(1, 1000), help="Instead of the study's own number.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def demo(
    data: str, path: Path | None, folder: Path | None, keep: bool, epsilon: str, rounds: int | None, as_json: bool
) -> None:
    """Four hospitals on this machine train one model together, for real."""
    from server.demo.demo import Demo, DemoChoice

    choice = DemoChoice(data=data, path=path, folder=folder, keep=keep, epsilon=epsilon, rounds=rounds)
    result = Demo(choice, quiet=as_json).run()
    if as_json:
        print_json(result.model_dump(mode="json"))
