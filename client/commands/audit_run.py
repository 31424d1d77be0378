"""``consilium-site audit-run``: train a study once with canaries, and bound its epsilon from below."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from privacy.canonical import Json
from privacy.command_line import print_json, print_table, print_text, say
from privacy.errors import RefutedError
from privacy.process_lifetime import interrupt_on_signals

if TYPE_CHECKING:
    from client.audit.audit_study import StudyAudit
    from client.site.folder import SiteFolder


@click.command("audit-run")
@click.argument("study", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option(
    "--train",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A public training file of one site; repeat for each. Without it patients are generated.",
)
@click.option("--canaries", default=400, show_default=True, type=click.IntRange(2, 5000), help="More say more.")
@click.option("--sites", default=3, show_default=True, type=click.IntRange(3, 64), help="With generated patients.")
@click.option("--patients", default=100, show_default=True, type=click.IntRange(10, 100_000), help="Of each.")
@click.option(
    "--own-data",
    is_flag=True,
    help="On the patients registered here: it needs an approval ('approve STUDY.yaml --for audit'), is paid like a "
    "launch, and stands in the ledger.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def audit_run(
    home: SiteFolder,
    study: Path,
    train: tuple[Path, ...],
    canaries: int,
    sites: int,
    patients: int,
    own_data: bool,
    as_json: bool,
) -> None:
    """Attack one training on public or generated data: what epsilon is it at least, beside the one claimed?"""
    from client.audit.audit_study import Verdict, audit_study
    from privacy.study import read_terms

    terms = read_terms(study)
    if own_data and train:
        raise click.UsageError("--own-data and --train both choose the patients; keep one of them")
    if own_data:
        from client.audit.own_data import audit_own_data

        interrupt_on_signals()  # so that the records that it trains on are removed

        found = audit_own_data(home, terms, canaries=canaries, sites=sites, patients=patients)
        say("paid, and signed into this site's ledger")
    else:
        if not as_json:
            say(
                "training once with canaries, over sites in memory: nothing is charged, nothing leaves this machine"
            )
        found = audit_study(terms, canaries=canaries, train=train, sites=sites, patients=patients)
    if as_json:
        print_json(_to_json(found))
    else:
        _print(found)
    if found.verdict is Verdict.REFUTED:
        raise RefutedError(
            f"{study}: an attacker guessed better than epsilon {found.epsilon:g} allows: clipping, sampling, noise or "
            "charge is wrong, or it is chance (at most 1 of 20 for each bound). Audit again; if it is refuted again, "
            "start no study with this program, and report it"
        )


def _print(found: StudyAudit) -> None:
    from client.audit.audit_study import Verdict

    print_text(
        f"{found.canaries} canaries, {found.present} took part; {found.rounds} rounds; "
        f"{found.patients:,} other patients"
    )
    bounds, gaussian = found.bounds, "what the claim says" if found.gaussian else "a Gaussian trade-off"
    independent = "-" if bounds.independent is None else f"{bounds.independent:.2f}"
    rows = [
        ("claimed", f"{found.epsilon:.2f}", f"at delta {found.delta:g}"),
        ("at least, by guesses in one run", f"{bounds.one_run:.2f}", "nothing"),
        ("at least, by both errors of guesses", f"{bounds.trade_off:.2f}", "nothing"),
        ("at least, if Gaussian", f"{bounds.gaussian:.2f}", gaussian),
        ("at least, if canaries are apart", independent, f"{gaussian}, and scores that do not mix"),
    ]
    print_table(("epsilon", "", "presumes"), rows)
    print_text(
        {
            Verdict.REFUTED: "REFUTED: beyond the claim. Each bound is wrong in one audit of 20 at most; if a second "
            "audit says so too, the claim does not hold",
            Verdict.DOUBTFUL: "DOUBTFUL: beyond the claim, if what the bound presumes holds; try more canaries",
            Verdict.NOT_REFUTED: "not refuted; a stronger attack, or more canaries, may see more",
        }[found.verdict]
    )


def _to_json(found: StudyAudit) -> Json:
    bounds = found.bounds
    return {
        "epsilon": found.epsilon,
        "delta": found.delta,
        "canaries": found.canaries,
        "present": found.present,
        "rounds": found.rounds,
        "patients": found.patients,
        "at_least": {
            "one_run": bounds.one_run,
            "trade_off": bounds.trade_off,
            "gaussian": bounds.gaussian,
            "independent": bounds.independent,
        },
        "gaussian_is_claimed": found.gaussian,
        "verdict": found.verdict.value,
    }
