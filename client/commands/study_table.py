"""Explain a study at the command line: read what the site's folder has, and print the explanation."""

from typing import Final

from client.admission.explain import Explanation, explain_study
from client.admission.quotas import list_earlier_studies
from client.site.folder import SiteFolder
from privacy.command_line import print_table, say, style
from privacy.ledger import Ledger
from privacy.ledger.entries import Admits
from privacy.study import Terms

NEVER_AGAIN: Final = (
    "WITHOUT PRIVACY: once a round is trained, no epsilon describes these patients any more, and they can never again "
    "be in a study with privacy. Nothing takes that back."
)


def explain_at_site(
    home: SiteFolder, ledger: Ledger, terms: Terms, *, about_to_approve: bool = False, runs: int | None = None
) -> Explanation:
    """Explain what ``terms``, or ``runs`` launches of them, would cost here.

    Policy, data and ledger are read as they are now.
    """
    state = ledger.copy_state()
    registration = home.load_registry().find_nearest(terms.data)
    known = registration is not None and state.is_registered(
        registration.population, registration.contract.digest, registration.data
    )
    return explain_study(
        terms,
        policy=home.policy,
        registration=registration,
        approved=about_to_approve or state.count_approved_runs(terms.digest, Admits.LAUNCH) > 0,
        account=state.find_account(registration.population) if registration is not None and known else None,
        weights=home.open_public_weights().list_held(),
        device=home.config.device,
        earlier=list_earlier_studies(state),
        runs=runs,
    )


def print_explanation(explanation: Explanation) -> None:
    """Print the explanation as a table on stdout."""
    rows = [
        ("study", f"{explanation.study}, terms {explanation.terms}"),
        ("population", explanation.population or "none: no data are registered for it"),
        ("promise", _describe_promise(explanation)),
        ("test patients", _describe_test_patients(explanation)),
        *_make_cost_rows(explanation),
        *_make_runs_rows(explanation),
    ]
    if explanation.admitted:
        rows.append(("verdict", _describe_verdict(explanation)))
    rows += [("refused" if place == 0 else "", why) for place, why in enumerate(_format_reasons(explanation))]
    print_table(("", ""), rows)
    say("who takes part is judged when the study is launched")


def _describe_verdict(explanation: Explanation) -> str:
    match explanation.persons:
        case 0:
            return "this site would admit it"
        case 1:
            return "this site would admit it once a person has agreed"
    return f"this site would admit it once {explanation.persons} people have agreed"


def _describe_promise(explanation: Explanation) -> str:
    if explanation.epsilon is None:
        return style(NEVER_AGAIN, colour="red", bold=True)
    work = "statistics of all patients" if explanation.counts_only else "the whole training"
    noise = explanation.evaluation_noise_multiplier if explanation.counts_only else explanation.noise_multiplier
    promised = f"epsilon {explanation.epsilon:g} at delta {explanation.delta:g} for {work}"
    return promised if noise is None else f"{promised}, noise multiplier {noise:g}"


def _describe_test_patients(explanation: Explanation) -> str:
    if explanation.counts_only:
        return "counted like all others"
    if not explanation.evaluated:
        return "not used"
    if explanation.evaluation_epsilon is None:
        return style("NOT PROTECTED: their totals leave without noise, exactly as they are", bold=True)
    return f"epsilon {explanation.evaluation_epsilon:g} for all evaluations"


def _make_cost_rows(explanation: Explanation) -> list[tuple[str, str]]:
    cost = explanation.cost
    if cost is None:
        return []
    rows = [("a round", f"{cost.round:.4f}, {cost.rounds} of them")] if cost.rounds else []
    if cost.evaluation:
        what = "the count" if explanation.counts_only else "an evaluation"
        rows.append((what, f"{cost.evaluation:.4f}, {cost.evaluations} of them"))
    if cost.conversion:
        rows.append(("conversion", f"{cost.conversion:.4f}, by the first charge of a grant, once"))
    left = "it does not fit" if cost.left_after is None else f"{cost.left_after:.4f} afterwards"
    return [
        *rows,
        ("in all", f"epsilon {cost.total:.4f} of grant {cost.grant}, at order {cost.order}"),
        ("left", f"{cost.left_before:.4f} now, {left}"),
    ]


def _make_runs_rows(explanation: Explanation) -> list[tuple[str, str]]:
    together = explanation.runs
    if together is None:
        return []
    runs, fitting = together.runs, together.fitting
    fit = "all of them fit" if fitting == runs else f"{fitting} of them fit, the next one is refused"
    test = "" if together.alone_evaluation is None else f", {together.alone_evaluation:.4f} of test patients"
    return [
        (f"{runs} runs", f"{fit}; those that fit take epsilon {together.epsilon:.4f} of the grants"),
        ("", f"alone epsilon {together.alone:.4f} of training patients{test}, if {runs} is fixed in advance"),
        ("", f"the best of {runs} is charged as {runs}"),
    ]


def _format_reasons(explanation: Explanation) -> list[str]:
    return [f"{reason.code}: {reason.sentence}" for reason in explanation.reasons]
