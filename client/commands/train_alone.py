"""``consilium-site train-alone``: train a study on this site's own patients, with a filter for each of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from privacy.command_line import print_json, print_table, say
from privacy.process_lifetime import interrupt_on_signals

if TYPE_CHECKING:
    from client.site.folder import SiteFolder


@click.command("train-alone")
@click.argument("study", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option(
    "--paid-steps",
    required=True,
    type=click.IntRange(min=1),
    help="For how many steps every patient pays, counted at full length; fewer mean less noise, and more people left "
    "out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def train_alone(home: SiteFolder, study: Path, paid_steps: int, as_json: bool) -> None:
    """Train on this site's patients alone, each left out once their own budget is spent (individual Rényi filters).

    It needs 'individual_filters: true' in policy.yaml and an approval ('approve STUDY.yaml --for alone'), is paid
    before its first step, and stands in the ledger. Nobody learns who was left out, or how many.
    """
    from client.study.train_alone import train_alone as trained_alone
    from privacy.study import read_terms

    terms = read_terms(study)
    interrupt_on_signals()  # so that the account is closed
    done = trained_alone(home, terms, paid_steps)
    say("paid before its first step, and signed into this site's ledger")
    event = done.event
    if as_json:
        print_json(
            {
                "study": done.study,
                "kind": event.title,
                "epsilon": terms.privacy.epsilon,
                "delta": terms.privacy.delta,
                "noise_multiplier": event.noise_multiplier,
                "steps": event.steps,
                "paid_steps": event.paid_steps,
                "model": done.model,
                "release": str(done.folder),
            }
        )
        return
    rows = [
        ("study", f"{done.study}: {event.title}"),
        (
            "promise",
            f"epsilon {terms.privacy.epsilon:g} at delta {terms.privacy.delta:g}, the same for every patient",
        ),
        ("steps", f"{event.steps}, of which every patient pays for {event.paid_steps}"),
        ("noise", f"{event.noise_multiplier:g} times the clipping norm"),
        ("model", f"{done.model}, in {done.folder}"),
        ("left out", "nobody knows who, or how many: it may be bad for whole groups of patients"),
    ]
    print_table(("", ""), rows)
