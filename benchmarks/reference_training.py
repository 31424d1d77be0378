"""Train models without privacy, each by the training that suits it: what its network can do on these data.

Steps, rates and rounds of the example studies are chosen for epsilon. Here a model's study has the changes that
``benchmarks/reference_choices.yaml`` names, and nothing is clipped or noised.

``python -m benchmarks.reference_training MODEL=DIR ... [--curve] [--out docs/models.json]`` trains it in the
federation and on all patients pooled, from each seed in one process (``benchmarks/paired_seeds.py``), and adds the
figures of the test patients, with the model after the last round, to the row that the document has of the model on
these data. ``DIR`` has a folder for each hospital, as the script beside the study makes it. ``--curve`` adds pooled
trainings on a quarter and a half of the training patients: would more of them help? ``--deals N`` adds the same
with training and test patients dealt anew, N times: where so few are tested that one test set hides the answer.

``--held-out`` is how the choices are made: a fifth of each hospital's training patients is held out, and they are
scored after each round; test patients are not looked at, and nothing is written. ``--change KEY=VALUE`` (as
``training.learning_rate=0.01``) tries a change instead of the file's.

A study that begins with public weights needs their file (``--weights``); ``--study`` names another file than the
example of the model, whose changes stand under its own name. Both are for one MODEL.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.model_studies import OUT, add_figures, write_files
from benchmarks.paired_seeds import PairedCohort, PairedSite
from client.data.examples import Patients
from client.training.simulate import pool_patients
from models.tasks.registry import list_figures
from privacy.command_line import say
from privacy.study import Terms, parse_terms
from server.demo.sources import DemoChoice, choose_study

CHOICES: Final = Path(__file__).with_name("reference_choices.yaml")
HELD_OUT: Final = 0.2
SHARES: Final = (0.25, 0.5)
_SEED: Final = 1

Changes = Mapping[str, Any]
"""Keys of a study file and their values, as deep as they go."""


@click.command()
@click.argument("pairs", metavar="MODEL=DIR...", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1, 100), help="Trainings each.")
@click.option("--curve", is_flag=True, help="Pooled on a quarter and a half of the patients, too.")
@click.option("--deals", default=0, type=click.IntRange(0, 100), help="Deals of training and test patients anew.")
@click.option("--held-out", is_flag=True, help="Score patients of the training files who are held out.")
@click.option("--only", type=click.Choice(["federated", "pooled"]), help="With --held-out: not the other one.")
@click.option("--change", "written", multiple=True, metavar="KEY=VALUE", help="Instead of the file's changes.")
@click.option("--study", type=click.Path(path_type=Path), help="Instead of the example of the one MODEL.")
@click.option("--weights", type=click.Path(path_type=Path), help="The public weights that it begins with.")
def main(
    pairs: tuple[str, ...],
    out: Path,
    seeds: int,
    curve: bool,
    deals: int,
    held_out: bool,
    only: str | None,
    written: tuple[str, ...],
    study: Path | None,
    weights: Path | None,
) -> None:
    """Train models without privacy, each by the training that suits it."""
    if len(pairs) > 1 and (study or weights or written):
        raise click.UsageError("--study, --weights and --change are for one MODEL=DIR")
    if (written or only) and not held_out:
        raise click.UsageError(
            "--change and --only are for --held-out; what suits goes into reference_choices.yaml"
        )
    choices: dict[str, Changes] = yaml.safe_load(CHOICES.read_text(encoding="utf-8"))
    for pair in pairs:
        name, _, data = pair.partition("=")
        choice = DemoChoice(None if study else name, None, study, Path(data), None, False, "none", None, weights)
        own_name = {"study": choose_study(choice)[0].name} if study else {}
        changes = read_changes(written) if written else choices.get(own_name.get("study", name), {})
        terms, sites = read_sites(choice, changes)
        figure = list_figures(terms.task, terms.data)[0]
        say(f"{name}, {figure.title}, {json.dumps(changes)}")
        if held_out:
            for way, members in make_cohorts([hold_out(each) for each in sites]).items():
                cohort = PairedCohort(terms, members, 1, weights)
                for number, model in enumerate(cohort.train_by_rounds() if only in (None, way) else ()):
                    say(f"{way}, round {number + 1}: {cohort.score(model)[figure.name]}")
            continue
        cohorts = make_cohorts(sites)
        if curve:
            cohorts |= {f"{share}": [take_share(cohorts["pooled"][0], share)] for share in SHARES}
        found: dict[str, list[float | None]] = {way: [] for way in cohorts}
        for seed in range(1, seeds + 1):
            for way, members in cohorts.items():
                cohort = PairedCohort(terms, members, seed, weights)
                found[way].append(cohort.score(cohort.train())[figure.name])
                say(f"{way}, seed {seed}: {found[way][-1]}")
        shares = {members[0].training.patients: found.pop(way) for way, members in list(cohorts.items())[2:]}
        (pooled,) = cohorts["pooled"]
        dealt = measure_deals(terms, pooled, deals, weights)
        reference = {
            **own_name,
            "changes": changes,
            "patients": pooled.training.patients,
            **found,
            "shares": shares,
        }
        if dealt:
            reference["dealt"] = dealt
        add_figures(out, name, choice, {"reference": reference})


def measure_deals(
    terms: Terms, pooled: PairedSite, deals: int, weights: Path | None
) -> dict[int, list[float | None]]:
    """Train on a quarter, a half and all of the training patients of each deal; the figures by number of patients."""
    figure, dealt = list_figures(terms.task, terms.data)[0], dict[int, list[float | None]]()
    for number in range(1, deals + 1):
        site = deal_anew(pooled, number)
        for share in (*SHARES, 1.0):
            part = take_share(site, share)
            cohort = PairedCohort(terms, [part], number, weights)
            figures = dealt.setdefault(part.training.patients, [])
            figures.append(cohort.score(cohort.train())[figure.name])
            say(f"deal {number}, {part.training.patients} patients: {figures[-1]}")
    return dealt


def make_cohorts(sites: list[PairedSite]) -> dict[str, list[PairedSite]]:
    """Return the sites of the federation, and one that has the patients of all."""
    training, testing = ([each.training for each in sites], [each.testing for each in sites])
    return {
        "federated": sites,
        "pooled": [PairedSite("pooled", pool_patients(training), pool_patients(testing))],
    }


def read_changes(written: tuple[str, ...]) -> Changes:
    """Read changes from ``KEY=VALUE``, where dots lead deeper and values are YAML."""
    changes: dict[str, Any] = {}
    for each in written:
        key, _, value = each.partition("=")
        *folders, last = key.split(".")
        inner = changes
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[last] = yaml.safe_load(value)
    return changes


def change_study(terms: Terms, changes: Changes) -> Terms:
    """Return the study with ``changes``, scored after its last round.

    Raises:
        TermsError: a key is not known, or the study has mistakes with the changes.
    """
    fields = _merge(terms.model_dump(mode="json"), changes)
    training = fields["training"]
    if training["stages"]:
        training["rounds"] = sum(each["rounds"] for each in training["stages"])
    fields["evaluation"]["rounds"] = [training["rounds"]]
    return parse_terms(fields)


def _merge(fields: Changes, changes: Changes) -> dict[str, Any]:
    merged = dict(fields)
    for key, value in changes.items():
        deeper = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if deeper else value
    return merged


def read_sites(choice: DemoChoice, changes: Changes) -> tuple[Terms, list[PairedSite]]:
    """Read the chosen study without privacy and with ``changes``, and its hospitals' files."""
    chosen, hospitals = choose_study(replace(choice, epsilon="none"))
    terms = change_study(chosen, changes)  # before the files are read: it may scale their numbers otherwise
    with tempfile.TemporaryDirectory(prefix="consilium-") as folder:
        # lazy arrays hold their files open, so the folder may go
        sites = [PairedSite.read(terms, each.name, *write_files(each, terms, Path(folder))) for each in hospitals]
    return terms, sites


def hold_out(site: PairedSite) -> PairedSite:
    """Return a site without its test patients: a fifth of its training patients are tested instead."""
    tested = _draw(site.training.patients, HELD_OUT)
    return PairedSite(site.name, _take(site.training, ~tested), _take(site.training, tested))


def deal_anew(site: PairedSite, number: int) -> PairedSite:
    """Deal the training and test patients of a site anew, as many of each as before; each ``number`` is a deal."""
    everybody = pool_patients([site.training, site.testing])
    tested = _draw(everybody.patients, site.testing.patients / everybody.patients, seed=number)
    return PairedSite(site.name, _take(everybody, ~tested), _take(everybody, tested))


def take_share(site: PairedSite, share: float) -> PairedSite:
    """Return a site with a ``share`` of its training patients."""
    return PairedSite(site.name, _take(site.training, _draw(site.training.patients, share)), site.testing)


def _draw(patients: int, share: float, seed: int = _SEED) -> NDArray[np.bool_]:
    """Draw a share of the patients, one at least, the same every time; (patients,)."""
    drawn = np.zeros(patients, dtype=bool)
    drawn[np.random.default_rng(seed).permutation(patients)[: max(1, round(share * patients))]] = True
    return drawn


def _take(patients: Patients, taken: NDArray[np.bool_]) -> Patients:
    """Return the patients who are ``taken``; (patients,)."""
    rows = np.flatnonzero(taken[patients.patient])
    places = np.cumsum(taken) - 1
    return Patients(
        inputs={name: array[rows] for name, array in patients.inputs.items()},
        targets={name: array[rows] for name, array in patients.targets.items()},
        patient=places[patients.patient[rows]],
        patients=int(taken.sum()),
    )


if __name__ == "__main__":
    main()
