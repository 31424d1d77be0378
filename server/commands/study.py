"""``consilium study``: what one does with studies.

Each file beside this one that begins with ``study_`` has some of its commands.
"""

from typing import Final

import click

from privacy.command_line import Commands, Later

_COMMANDS: Final = {
    "new": Later(
        "server.commands.study_new:new",
        "Begin a study file from the columns of a table, or from a contract; what people must say is marked FILL.",
    ),
    "check": Later(
        "server.commands.study_check:check", "Explain what STUDY.yaml would cost and move; nothing is launched."
    ),
    "schema": Later(
        "server.commands.study_schema:schema",
        "Print the JSON schema of a study file, for editors that check while one types.",
    ),
    "graph": Later(
        "server.commands.study_graph:graph",
        "Write the public graph GRAPH as the option of a model, as in: graph: {source, sha256, edges}.",
    ),
    "launch": Later(
        "server.commands.study_run:study_launch", "Sign STUDY.yaml and invite sites; they admit or refuse it."
    ),
    "list": Later(
        "server.commands.study_results:list_studies",
        "Every study of this federation, with the figure of its newest evaluation.",
    ),
    "show": Later(
        "server.commands.study_results:show",
        "Show what STUDY is, how its model does on the sites' test patients, and what it costs.",
    ),
    "compare": Later(
        "server.commands.study_results:compare",
        "Studies side by side: results of the newest evaluation, promises and costs.",
    ),
    "watch": Later(
        "server.commands.study_results:watch",
        "Follow STUDY until it is finished or stopped: rounds, figures as they open, and the time left.",
    ),
    "feasibility": Later(
        "server.commands.study_feasibility:feasibility",
        "Ask sites how many patients STUDY.yaml would have and what they are like; write a page of plots.",
    ),
    "statistics": Later(
        "server.commands.study_feasibility:statistics", "Write the page of STUDY, a finished study of statistics."
    ),
    "stop": Later(
        "server.commands.study_run:study_stop",
        "Stop STUDY after what it is doing now; nothing is lost, and 'resume' continues it.",
    ),
    "resume": Later("server.commands.study_run:study_resume", "Resume a stopped STUDY."),
    "give-up": Later(
        "server.commands.study_run:study_give_up",
        "Give up a stopped STUDY: every site closes its account, and what it has not used is free again.",
    ),
}


@click.group(cls=Commands, later=_COMMANDS)
def study() -> None:
    """Studies: check, launch, watch."""
