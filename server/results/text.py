"""Format a study's results as rows of a table.

Rules:

* a figure is written with the effect of noise (±) where there is noise, and with its threshold where it has one;
* training without privacy, or without sealing, is written in capitals wherever a study is shown.
"""

from collections.abc import Sequence

from models.tasks.statistics_document import Figure as Counted
from models.tasks.statistics_document import Statistics
from privacy.study import Choice, Unit
from privacy.study.statistics_study import NO_MODEL
from privacy.study.tasks.figures import FigureFacts
from server.results.documents import RoundsSummary, SiteResult, StudyResults, StudySummary
from server.results.tally import WITHOUT_PRIVACY
from server.study.figures import EvaluationResult, Figure

Rows = list[tuple[str, ...]]

SITE_HEADINGS = ("site", "", "rounds", "patients (about)", "epsilon spent", "")
LIST_HEADINGS = ("study", "", "rounds", "epsilon", "newest figure", "")
_CLIPPED = {Unit.PATIENT: "patient", Unit.RECORD: "record", Unit.SITE: "update of a site"}


def list_facts(found: StudyResults) -> Rows:
    """List the facts of a study: terms, privacy, progress, bytes and time."""
    terms, promise, moved = found.terms, found.privacy, found.movement
    rows: Rows = [
        ("study", f"{found.study}: {found.standing}" + (f" ({found.why})" if found.why else "")),
        ("purpose", terms.purpose),
        ("terms", f"SHA-256 {terms.sha256}"),
    ]
    if terms.model == NO_MODEL:
        rows += [
            ("predicts", f"{terms.predicts}: {_format_names(tuple(terms.inputs))}"),
            ("privacy", f"epsilon {promise.epsilon:g}, delta {promise.delta:g} for each patient"),
            ("page", f"consilium study statistics {found.study}"),
        ]
    else:
        rows += _list_training_facts(found)
    if moved.bytes_up is not None and moved.seconds_per_round is not None:
        took = format_seconds(moved.seconds_per_round)
        rows.append(("a round", f"{moved.bytes_up:,} bytes up and {moved.bytes_down:,} down at a site, {took}"))
    if moved.seconds is not None:
        left = "" if moved.seconds_left is None else f"; about {format_seconds(moved.seconds_left)} left"
        rows.append(("time", f"begun {found.began} UTC, {format_seconds(moved.seconds)} so far{left}"))
    return [*rows, *(("NOTE", remark) for remark in found.remarks)]


def _list_training_facts(found: StudyResults) -> Rows:
    terms, promise = found.terms, found.privacy
    return [
        ("predicts", f"{terms.predicts}; from {len(terms.inputs)} inputs: {_format_names(tuple(terms.inputs))}"),
        ("model", f"{terms.model}, {terms.parameters:,} parameters trained together"),
        (
            "training",
            f"{found.rounds.planned} rounds of {terms.local_steps} steps, sampling rate {terms.sampling_rate:g}, "
            f"learning rate {terms.learning_rate:g}; {terms.cohort_minimum} to {terms.cohort_maximum} sites",
        ),
        ("privacy", _format_promise(found)),
        (
            "test patients",
            f"epsilon {promise.evaluation_epsilon:g}" if promise.evaluation_epsilon else "NOT protected",
        ),
        ("rounds", format_rounds(found.rounds)),
        ("released", _format_released(found)),
    ]


def list_evaluation_headings(figures: Sequence[FigureFacts]) -> tuple[str, ...]:
    """List the headings of evaluations with these figures."""
    return ("after round", *(each.title for each in figures), "test patients", "by chance")


def format_evaluation_row(each: EvaluationResult, figures: Sequence[FigureFacts]) -> tuple[str, ...]:
    """Format one evaluation under :func:`list_evaluation_headings`."""
    shown = [format_figure(each.figures[kind.name]) for kind in figures]
    first = each.figures[figures[0].name].chance
    mostly = " MOSTLY NOISE" if each.mostly_noise else ""
    return str(each.after_round), *shown, f"{each.patients}{mostly}", "-" if first is None else f"± {first:.3f}"


def explain_evaluations(evaluations: Sequence[EvaluationResult], firsts: Sequence[FigureFacts]) -> str:
    """Explain the columns of evaluations, of studies with these first figures, in one sentence."""
    thresholds = sorted({each.threshold for each in evaluations if each.threshold is not None})
    noise = max(each.noise_deviation for each in evaluations)
    how = (
        f"± is how far the noise in the totals ({noise:.1f} patients a cell) moves a figure"
        if noise
        else "there is no noise in these totals"
    )
    scores = " or ".join(f"{each:g}" for each in thresholds)
    positive = f"a score of {scores} or more counts as positive; " if scores else ""
    names = " or ".join(dict.fromkeys(each.title for each in firsts))
    return f"{positive}{how}; by chance: how far other test patients, as many, would move the {names}"


def list_statistics_rows(found: Statistics) -> Rows:
    """List how many patients a study of statistics has counted, and how far noise may change it."""
    rows: Rows = [("would qualify", _format_count(found.patients))]
    if found.complete is not None:
        rows.append(("without a missing value", _format_count(found.complete)))
    return rows


def _format_count(each: Counted) -> str:
    return "hidden by the noise" if each.value is None else f"{each.value:,.0f} ± {each.error or 0:,.0f} patients"


def list_site_rows(found: StudyResults) -> Rows:
    """List every invited site under :data:`SITE_HEADINGS`."""
    return [
        (
            each.name,
            each.state,
            str(each.rounds),
            "-" if each.patients_about is None else f"{each.patients_about:,}",
            "-" if each.epsilon_spent is None else f"{each.epsilon_spent:.3f}",
            _format_why(each),
        )
        for each in found.sites
    ]


def format_list_row(each: StudySummary) -> tuple[str, ...]:
    """Format one study under :data:`LIST_HEADINGS`."""
    epsilon = "NONE" if each.epsilon is None else f"{each.epsilon:g}"
    newest = "-" if each.figure is None else f"{each.figure.title} {format_figure(each.figure.figure)}"
    out = "; ".join(f"{name} is out: {why}" for name, why in sorted(each.out.items()))
    deciding = "; ".join(
        f"people have not decided at {name} ({why})" for name, why in sorted(each.deciding.items())
    )
    return each.study, each.standing, format_rounds(each.rounds), epsilon, newest, each.why or out or deciding


def compare_studies(several: Sequence[StudyResults]) -> Rows:
    """Compare studies by their newest evaluations: a row for each fact, a column for each study."""
    rows: Rows = [
        ("", *(each.study for each in several)),
        ("standing", *(each.standing for each in several)),
        ("model", *(f"{each.terms.model}, {each.terms.parameters:,}" for each in several)),
        ("predicts", *(each.terms.predicts for each in several)),
        ("sites", *(str(len(each.sites)) for each in several)),
        ("rounds", *(format_rounds(each.rounds) for each in several)),
        ("epsilon, delta", *(_format_epsilon(each) for each in several)),
        ("test patients", *(_format_test_epsilon(each) for each in several)),
        ("epsilon spent", *(_format_most_spent(each) for each in several)),
    ]
    newest = [_list_newest_cells(each) for each in several]
    titles = dict.fromkeys(kind.title for each in several for kind in each.figures)  # in order, each once
    for heading in ("after round", *titles, "test patients", "by chance", "threshold"):
        rows.append((heading, *(cells.get(heading, "-") for cells in newest)))
    bytes_up = ["-" if each.movement.bytes_up is None else f"{each.movement.bytes_up:,}" for each in several]
    bytes_down = ["-" if each.movement.bytes_down is None else f"{each.movement.bytes_down:,}" for each in several]
    a_round = [each.movement.seconds_per_round for each in several]
    return [
        *rows,
        ("bytes up, site and round", *bytes_up),
        ("bytes down", *bytes_down),
        ("a round", *("-" if each is None else format_seconds(each) for each in a_round)),
        ("released", *(f"after round {each.released.after_round}" for each in several)),
    ]


def _list_newest_cells(found: StudyResults) -> dict[str, str]:
    """List the newest evaluation's cells by their headings; empty before an evaluation."""
    if not found.evaluations:
        return {}
    newest = found.evaluations[-1]
    row = format_evaluation_row(newest, found.figures)
    cells = dict(zip(list_evaluation_headings(found.figures), row, strict=True))
    return cells if newest.threshold is None else {**cells, "threshold": f"{newest.threshold:g}"}


def format_rounds(counted: RoundsSummary) -> str:
    """Format the number of applied, planned, void and remaining training rounds."""
    void = f", {counted.void} void" if counted.void else ""
    left = f", {counted.left} left" if counted.left else ""
    return f"{counted.applied} of {counted.planned}{void}{left}"


def format_figure(each: Figure) -> str:
    """Format a figure with the effect of noise."""
    if each.value is None:
        return "-"
    digits = 0 if each.value >= 100 and float(each.value).is_integer() else 3  # a number of patients
    return f"{each.value:.{digits}f}" + (f" ± {each.noise:.{digits}f}" if each.noise else "")


def format_seconds(count: float) -> str:
    """Format a duration in seconds, minutes or hours, whichever is readable."""
    if count < 120:
        return f"{count:.1f} s" if count < 10 else f"{count:.0f} s"
    return f"{count / 60:.0f} min" if count < 7200 else f"{count / 3600:.1f} h"


def _format_why(site: SiteResult) -> str:
    """Format why a site does not take part, and whom to call about a decision that is missing."""
    if site.waits_since is None:
        return site.why
    return f"{site.why}; since {site.waits_since}{f', call {site.contact}' if site.contact else ''}"


def _format_names(names: Sequence[str], most: int = 8) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _format_promise(found: StudyResults) -> str:
    promise = found.privacy
    if promise.epsilon is None:
        return WITHOUT_PRIVACY
    return (
        f"epsilon {promise.epsilon:g}, delta {promise.delta:g} for each training patient; {promise.placement} noise, "
        f"clipping norm {promise.clipping_norm:g} for each {_CLIPPED[promise.unit]}"
    )


def _format_released(found: StudyResults) -> str:
    chosen, after = found.released.choice, f"the model after round {found.released.after_round}"
    if chosen is Choice.AVERAGE:
        return f"the moving average of the shared models up to round {found.released.after_round}"
    how = "the last one" if chosen is Choice.LAST else f"by the best {found.figures[0].title} of opened totals"
    return f"{after}, {how}"


def _format_epsilon(found: StudyResults) -> str:
    promise = found.privacy
    return "NONE" if promise.epsilon is None else f"{promise.epsilon:g}, {promise.delta:g}"


def _format_test_epsilon(found: StudyResults) -> str:
    return (
        "NOT protected"
        if found.privacy.evaluation_epsilon is None
        else f"epsilon {found.privacy.evaluation_epsilon:g}"
    )


def _format_most_spent(found: StudyResults) -> str:
    spent = [each.epsilon_spent for each in found.sites if each.epsilon_spent is not None]
    return f"at most {max(spent):.3f} a site" if spent else "-"
