"""``consilium audit-run``: audit a study empirically before it is launched, by the sites' own program."""

import subprocess

import click

from server.demo.processes import find_program


@click.command("audit-run", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("words", metavar="STUDY.yaml", nargs=-1, required=True, type=click.UNPROCESSED)
def audit_run(words: tuple[str, ...]) -> int:
    """Attack one training of a study on public or generated data, as 'consilium-site audit-run' does.

    The sites' program trains and attacks: the coordinator's has no code that could. All options are that command's.
    """
    return subprocess.run([find_program("consilium-site"), "audit-run", *words], check=False).returncode
