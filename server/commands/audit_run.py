"""``consilium audit-run``: audit a study empirically before it is launched, by the sites' own program."""

import subprocess

import click

from server.demo.processes import find_program


def _show_help(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        context.exit(_run("--help"))


@click.command("audit-run", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("words", metavar="STUDY.yaml", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "-h",
    "--help",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_help,
    help="Show this message and exit.",
)
def audit_run(words: tuple[str, ...]) -> int:
    """Attack one training of a study on public or generated data, as 'consilium-site audit-run' does.

    The sites' program trains and attacks: the coordinator's has no code that could. All options are that command's.
    """
    return _run(*words)


def _run(*words: str) -> int:
    return subprocess.run([find_program("consilium-site"), "audit-run", *words], check=False).returncode
