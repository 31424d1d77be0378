"""``consilium study check``: what a study file would cost and transfer, before any site is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from privacy.command_line import print_json, print_table
from privacy.errors import TermsError

if TYPE_CHECKING:
    from privacy.study import Terms
    from server.federation.folder import Federation
    from server.federation.profile import Profile
    from server.study.check_result import (
        CorrelationCheck,
        PrivacyCheck,
        RunsCost,
        SharedNoiseCheck,
        SiteUnitCheck,
        StageCheck,
        StudyCheck,
    )


@click.command()
@click.argument("file", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--weights", type=click.Path(path_type=Path), help="Check the public weights that STUDY.yaml names.")
@click.option("--runs", type=click.IntRange(1, 10_000), help="And what so many runs cost together, to choose one.")
@click.option(
    "--patients",
    type=click.IntRange(1, 1 << 40),
    help="Of all sites together, about. Without it: what they gave in earlier studies on the same contract.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def check(
    place: Federation | Profile,
    file: Path,
    weights: Path | None,
    runs: int | None,
    patients: int | None,
    as_json: bool,
) -> None:
    """Explain what STUDY.yaml would cost and move; nothing is launched. A PROBLEM ends it with 11."""
    from privacy.study import read_terms
    from server.study.check import check_study, require_weights

    terms = read_terms(file)
    found = check_study(terms, runs, count_known_patients(place, terms, ()) if patients is None else patients)
    if weights is not None:
        require_weights(terms, weights)
    if as_json:
        print_json(found.model_dump(mode="json", by_alias=True))
    else:
        _print_findings(found, weights)
    require_no_problem(found, "nothing can be launched like this")


def count_known_patients(place: Federation | Profile, terms: Terms, names: tuple[str, ...]) -> int | None:
    """Sum the known patients of the named sites (of all enrolled ones if none is named); None if none are known."""
    from server.commands.connect import connect_to_coordinator
    from server.federation.config import CONFIG_FILE
    from server.federation.folder import Federation

    if isinstance(place, Federation):
        if not (place.folder / CONFIG_FILE).exists():
            return None
        return sum(place.read_known_patients(terms.data, names or place.read_sites()).values()) or None
    contract = terms.data.model_dump(mode="json")
    answer = connect_to_coordinator(place).call("CountPatients", contract=contract, sites=list(names))
    return answer["patients"] or None


def require_no_problem(found: StudyCheck, otherwise: str) -> None:
    """Refuse a study that cannot work.

    Raises:
        TermsError: it has problems; the message names every one.
    """
    if found.problems:
        raise TermsError(f"{found.study}: {'; '.join(found.problems)} ({otherwise})")


def _print_findings(found: StudyCheck, weights: Path | None) -> None:
    from privacy.study.statistics_study import NO_MODEL

    privacy = found.privacy
    if privacy.private:
        promise = [
            ("privacy", f"epsilon {privacy.epsilon:g}, delta {privacy.delta:g}, for each patient"),
            *_list_unit_rows(privacy.unit),
            _make_noise_row(privacy, counts_only=found.model == NO_MODEL),
            *_list_order_rows(privacy.orders_end_too_early),
            *_list_noise_rows(privacy.shares),
            *_list_correlation_rows(privacy.correlation),
            *_list_range_rows(found),
            *(
                []
                if found.model == NO_MODEL
                else [("first round", f"epsilon {privacy.epsilon_after_first_round:.3f} of it")]
            ),
            ("sites", f"with at most {privacy.smallest_population} patients each (1 / delta)"),
            *_list_test_rows(found.model, privacy),
            *_list_runs_rows(privacy.runs, counts_only=found.model == NO_MODEL),
        ]
    else:
        promise = [
            *_list_range_rows(found),
            ("privacy", "NONE: the model may reveal its patients; a site must allow that"),
        ]
    parts = f"{found.ciphertexts} ciphertext{'' if found.ciphertexts == 1 else 's'}"
    moved = (
        f"{found.bytes_up:,} bytes up, {found.bytes_down:,} down "
        f"({parts}; float32 would take {found.float32_bytes:,})"
    )
    if not found.sealed:
        moved += "; NOT SEALED: the coordinator can read every site's update"
    elif found.values_per_slot == 1:
        moved += "; one value a slot, for so many bits and sites: at most 32 sites at 16 bits halve the bytes"
    if found.model == NO_MODEL:
        rows = [
            ("study", f"{found.study}, SHA-256 {found.terms_sha256[:16]}..."),
            ("counts", f"{found.cells:,} cells, in one exchange; trains nothing"),
            ("site", moved),
            *promise,
            ("", f"nor more than {found.most_site_patients:,} patients to train on: their counts would not fit"),
        ]
        print_table(("", ""), rows)
        return
    rows = [
        ("study", f"{found.study}, SHA-256 {found.terms_sha256[:16]}..."),
        ("model", f"{found.model}, version {found.version}: {found.parameters:,} parameters"),
        *(("" if place else "takes", f"{name}: {what}") for place, (name, what) in enumerate(found.inputs.items())),
        ("learns", f"the task {found.task}, from {_format_shape(found.outputs)} a record"),
        *_list_layer_rows(found, weights),
        ("rounds", f"{found.rounds}, in {found.exchanges} exchanges"),
        *(("" if place else "stages", _format_stage(stage)) for place, stage in enumerate(found.stages)),
        ("site and round", moved),
        *promise,
    ]
    print_table(("", ""), rows, () if privacy.private else {len(rows) - 1})


def _make_noise_row(privacy: PrivacyCheck, *, counts_only: bool) -> tuple[str, str]:
    if counts_only:
        return "noise", f"multiplier {privacy.noise_multiplier:.3f}, added by all sites together"
    return "noise", f"{privacy.noise_multiplier:.3f} times the clipping norm, {privacy.steps} steps"


def _format_allowance(epsilon: float, protected: bool) -> str:
    """Format what the policy of every site must allow; by default a site allows an epsilon of 3."""
    test_patients = "" if protected else ", and unprotected_test_patients"
    return f"epsilon_per_study of {epsilon:g}{test_patients} (policy.yaml)"


def _format_shape(shape: tuple[int, ...]) -> str:
    return f"{'x'.join(map(str, shape))} outputs" if shape else "one output"


def _format_stage(stage: StageCheck) -> str:
    return (
        f"{stage.name}: {stage.rounds} rounds for '{stage.objective}' at rate {stage.learning_rate:g}, "
        f"{stage.parameters:,} parameters"
    )


def _list_layer_rows(found: StudyCheck, weights: Path | None) -> list[tuple[str, str]]:
    """List the rows on personal and frozen parameters and on public weights; none for a model trained whole."""
    rows = []
    if found.personal:
        rows.append(("", f"and {found.personal:,} personal ones, which each site trains for itself"))
    if found.frozen:
        rows.append(("", f"and {found.frozen:,} frozen ones, which are neither sent nor noised"))
    if found.start is not None:
        judged = "checked, fits" if weights is not None else "every site must have it; check it with --weights FILE"
        rows.append(("public weights", f"SHA-256 {found.start[:16]}...: {judged}"))
    return rows


def _list_test_rows(model: str, privacy: PrivacyCheck) -> list[tuple[str, str]]:
    """List the rows on test patients, and on what sites must allow."""
    from privacy.study.statistics_study import NO_MODEL

    allowance = _format_allowance(privacy.epsilon_in_all, privacy.test_patients_protected)
    if model == NO_MODEL:
        return [("sites must allow", f"statistics, and {allowance}")]
    protected = "protected" if privacy.test_patients_protected else "NOT protected"
    return [("test patients", protected), ("sites must allow", allowance)]


def _list_runs_rows(together: RunsCost | None, *, counts_only: bool) -> list[tuple[str, str]]:
    """List the rows on the cost of several runs together; none without ``--runs``."""
    if together is None:
        return []
    test, runs = together.evaluation, together.runs
    held_out = "" if test is None else f", {test:.3f} for each test patient"
    whom = f"{test:.3f} for each patient" if counts_only else f"{together.training:.3f} for each training patient"
    return [
        (f"{runs} runs", f"together epsilon {whom}{'' if counts_only else held_out}"),
        ("", f"the best of {runs} costs as much; each site's ledger charges every launch"),
    ]


def _list_order_rows(orders_end_too_early: bool) -> list[tuple[str, str]]:
    """List the row that says that a larger Renyi order than the known ones would need less noise; else none."""
    if not orders_end_too_early:
        return []
    return [
        ("", "more than is needed: for so small an epsilon the best Renyi order is beyond those that are known")
    ]


def _list_unit_rows(unit: str) -> list[tuple[str, str]]:
    """List the row on the unit that is clipped; none if it is the patient."""
    clipped = {"record": "each record for itself", "site": "the whole update of each site"}
    return [("", f"clipped is {clipped[unit]}")] if unit in clipped else []


def _list_noise_rows(shares: SharedNoiseCheck | None) -> list[tuple[str, str]]:
    """List the rows on distributed noise; none with local noise."""
    if shares is None:
        return []
    rounding = f"{shares.inflation - 1:.1%} more noise for rounding"
    if shares.inflation > 1.02:
        rounding += f"; with secure_aggregation.bits: {shares.proposed_bits} less"
    return [
        ("placement", f"distributed: holds against {shares.colluders} colluding sites"),
        ("", f"whoever takes no part faces epsilon {shares.epsilon_outside:.3f} (largest cohort)"),
        ("", f"{rounding}; a share has {shares.share_units:.0f} grid units"),
        *_list_site_rows(shares.sites),
    ]


def _list_correlation_rows(correlation: CorrelationCheck | None) -> list[tuple[str, str]]:
    """List the rows on lots in a fixed order and their noise; none where lots are drawn."""
    if correlation is None:
        return []
    over = f"over {correlation.bands} steps" if correlation.bands > 1 else "by a tree for each pass"
    kept = f"; a site keeps {correlation.kept_bytes:,} bytes of noise" if correlation.kept_bytes else ""
    return [
        ("placement", f"correlated {over}: {correlation.lots} lots in turn, {correlation.passes} passes{kept}"),
        ("", f"as one Gaussian release: epsilon {correlation.exact_epsilon:.3f} exactly"),
        ("", f"leaves {correlation.noise_left:.3g} clipping norms of noise in the sum of all steps"),
        (
            "",
            f"lots drawn in secret would leave {correlation.drawn_noise_left:.3g}, with a multiplier of "
            f"{correlation.drawn_multiplier:.3f}",
        ),
    ]


def _list_range_rows(found: StudyCheck) -> list[tuple[str, str]]:
    """List the rows on the range of values, and on every problem."""
    from privacy.study.statistics_study import NO_MODEL

    shares, written = found.shares, found.value_range
    problems = [("PROBLEM", problem) for problem in found.problems]
    if found.model == NO_MODEL:
        return problems
    if shares is None:
        said = f"values up to {found.first_range:g}, finer steps after the first round"
        return [("range", f"auto: {said}" if written == "auto" else said), *problems]
    patients = "" if shares.patients is None else f" of {shares.patients:,} patients"
    if shares.sites is not None:
        said = f"{shares.value_range:g} clipping norms; noise and sites need {shares.needed_range:.3g}"
    elif written == "auto" and not patients:
        said = "auto: fixed in each round from the public patient counts of all sites"
    elif written == "auto":
        said = f"auto: {shares.value_range:g} clipping norms for the noise and the lots{patients}"
    else:
        said = (
            f"{written:g} clipping norms hold the noise and lots of up to {shares.patients_held:,} patients of all "
            "sites together; auto holds any"
        )
    return [("range", said), *problems]


def _list_site_rows(sites: SiteUnitCheck | None) -> list[tuple[str, str]]:
    """List the rows on noise over whole updates; none where patients or records are clipped."""
    if sites is None:
        return []
    useless = "; MOSTLY NOISE: more sites or fewer parameters would help" if sites.noise_to_signal > 1 else ""
    return [
        ("whole sites", f"epsilon {sites.epsilon_of_site:.3f} for each site, all its patients together"),
        ("", f"each counts in a round with chance {sites.participation:g}"),
        (
            "mean update",
            f"noise of {sites.noise_of_mean:.3g} clipping norms a coordinate (largest cohort): in a round "
            f"{sites.noise_to_signal_of_round:.3g} times the longest update",
        ),
        ("", f"over all rounds {sites.noise_to_signal:.3g} times the longest way they can lead{useless}"),
    ]
