"""``consilium study check``: what a study file would cost and move, before anybody is asked."""

from pathlib import Path
from typing import Any

import click

from privacy.console import print_json, print_table
from privacy.study import read_terms


@click.command()
@click.argument("file", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--weights", type=click.Path(path_type=Path), help="Check the public weights that STUDY.yaml names.")
@click.option("--runs", type=click.IntRange(1, 10_000), help="And what so many runs cost together, to choose one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def check(file: Path, weights: Path | None, runs: int | None, as_json: bool) -> None:
    """Explain what STUDY.yaml would cost and move; nothing is launched."""
    from server.explain import explain, require_weights

    terms = read_terms(file)
    found = explain(terms, runs)
    if weights is not None:
        require_weights(terms, weights)
    if as_json:
        print_json(found)
        return
    privacy = found["privacy"]
    if privacy["private"]:
        promise = [
            ("privacy", f"epsilon {privacy['epsilon']:g}, delta {privacy['delta']:g}, for each patient"),
            *_unit_rows(privacy["unit"]),
            ("noise", f"{privacy['noise_multiplier']:.3f} times the clipping norm, {privacy['steps']} steps"),
            *_noise_rows(privacy["shares"]),
            ("first round", f"epsilon {privacy['epsilon_after_first_round']:.3f} of it"),
            ("sites", f"with at most {privacy['smallest_population']} patients each (1 / delta)"),
            ("test patients", "protected" if privacy["test_patients_protected"] else "NOT protected"),
            *_runs_rows(privacy["runs"]),
        ]
    else:
        promise = [("privacy", "NONE: the model may reveal its patients; a site must allow that")]
    moved = (
        f"{found['bytes_up']:,} bytes up, {found['bytes_down']:,} down "
        f"({found['ciphertexts']} ciphertexts; float32 would take {found['float32_bytes']:,})"
    )
    if not found["sealed"]:
        moved += "; NOT SEALED: the coordinator can read every site's update"
    elif found["values_per_slot"] == 1:
        moved += "; one value a slot, for so many bits and sites: at most 32 sites at 16 bits halve the bytes"
    rows = [
        ("study", f"{found['study']}, SHA-256 {found['digest'][:16]}..."),
        ("model", f"{found['parameters']:,} parameters, {found['inputs']} inputs"),
        *_layer_rows(found, weights),
        ("rounds", f"{found['rounds']}, in {found['exchanges']} exchanges"),
        ("site and round", moved),
        *promise,
    ]
    print_table(("", ""), rows, () if privacy["private"] else {len(rows) - 1})


def _layer_rows(found: dict[str, Any], weights: Path | None) -> list[tuple[str, str]]:
    """What of the model is not trained together, and where it begins; nothing for a model that is trained whole."""
    rows = []
    if found["personal"]:
        rows.append(("", f"and {found['personal']:,} personal ones, which each site trains for itself"))
    if found["frozen"]:
        rows.append(("", f"and {found['frozen']:,} frozen ones, which are neither sent nor noised"))
    if found["start"] is not None:
        judged = "checked, fits" if weights is not None else "every site must have it; check it with --weights FILE"
        rows.append(("public weights", f"SHA-256 {found['start'][:16]}...: {judged}"))
    return rows


def _runs_rows(together: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What a best of several runs costs; nothing where nobody asked."""
    if together is None:
        return []
    test = together["evaluation"]
    held_out = "" if test is None else f", {test:.3f} for each test patient"
    runs = together["runs"]
    return [
        (f"{runs} runs", f"together epsilon {together['training']:.3f} for each training patient{held_out}"),
        ("", f"the best of {runs} costs as much; each site's book charges every launch"),
    ]


def _unit_rows(unit: str) -> list[tuple[str, str]]:
    """What is clipped, where that is not a patient."""
    clipped = {"record": "each record for itself", "site": "the whole update of each site"}
    return [("", f"clipped is {clipped[unit]}")] if unit in clipped else []


def _noise_rows(shares: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What distributed noise means; nothing with local noise."""
    if shares is None:
        return []
    rounding = f"{shares['inflation'] - 1:.1%} more noise for rounding"
    if shares["inflation"] > 1.02:
        rounding += f"; with sealing.bits {shares['proposed_bits']} less"
    return [
        ("placement", f"distributed: holds against {shares['colluders']} colluding sites"),
        ("", f"whoever takes no part faces epsilon {shares['epsilon_outside']:.3f} (largest cohort)"),
        ("", f"{rounding}; a share has {shares['share_units']:.0f} grid units"),
        *_site_rows(shares["sites"]),
        *([("PROBLEM", shares["problem"])] if shares["problem"] else []),
    ]


def _site_rows(sites: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What noise over whole updates means; nothing where patients or records are clipped."""
    if sites is None:
        return []
    useless = "; MOSTLY NOISE: more sites or fewer parameters would help" if sites["noise_to_signal"] > 1 else ""
    return [
        ("whole sites", f"epsilon {sites['epsilon_of_site']:.3f} for each site, all its patients together"),
        ("", f"each counts in a round with chance {sites['participation']:g}"),
        (
            "mean update",
            f"noise of {sites['noise_of_mean']:.3g} clipping norms a coordinate (largest cohort): in a round "
            f"{sites['noise_to_signal_of_round']:.3g} times the longest update",
        ),
        ("", f"over all rounds {sites['noise_to_signal']:.3g} times the longest way they can lead{useless}"),
    ]
