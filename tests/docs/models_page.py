"""``docs/models.md``, made from the catalogue and measured results: ``python -m tests.docs.models_page`` writes it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean, stdev
from textwrap import fill
from typing import Any, Final

import yaml

from models.describe import ModelDescription, describe_catalogue
from server.study.slow_layers import list_slow_layers
from tests.docs.pages import ROOT

PAGE: Final[Path] = ROOT / "docs" / "models.md"
RESULTS: Final[Path] = ROOT / "docs" / "models.json"

_HEAD: Final = """\
# Models

The models that a study may name (`model.name`), made from the catalogue by `python -m tests.docs.models_page`. The same
facts: `consilium model list` (`--task`, `--takes` and `--domain` search), `consilium model show NAME`. A
model is one file in `models/`; how to add one is in [CONTRIBUTING](../CONTRIBUTING.md). What a record is, and what a
patient is, decides what the privacy is about: where a record is a gene or a compound, as in some of the public data
below, epsilon is that of the gene or the compound.
"""
_CURVES_HEAD: Final = """\
### From how many patients on

Pooled trainings of the same studies, means of one to three each: without privacy on a quarter, a half and all of the
training patients, as with epsilon (`python -m benchmarks.learning_curves`) and tuned (`python -m
benchmarks.reference_training --curve`; "dealt anew": means of several deals of training and test patients,
`--deals`); with epsilon 8 on all of them, with the noise that as many, four and sixteen
times as many patients would have. What more patients would also teach is not in that. - where it was not measured.
"""
_FLOORS_HEAD: Final = """\
### Beside a simple way

What a simple way reaches on the same test patients, pooled and without privacy where it is fitted at all, and what the
network has without privacy, in the federation and pooled: "as with epsilon" by the steps, rates and rounds of its
study, which are chosen for epsilon, one federation; "tuned" by those that suit it without privacy
([reference_choices.yaml](../benchmarks/reference_choices.yaml), chosen on training patients who were held out), mean of
two or three seeds in one process (`python -m benchmarks.reference_training`). "Above" says which of the two is better
than the simple way, tuned where that was done. Whether more patients would help a network that is not, its curve says.
"""
_PAIRED_HEAD: Final = """\
### Paired seeds

The figures above are of one federation each. Here the same studies are trained in one process from three seeds each
(`python -m benchmarks.model_studies --seeds 3`), by the sites' own steps, rounding and averaging. Keys and sealing,
which change no figure, are left out. A seed gives the first model and the patients of every lot, the same without
privacy and with each epsilon, so that a difference is not that of another beginning. Test patients are counted with the
model after the last round. Mean and standard deviation over the seeds; "less none" is each seed's figure less its own
without privacy. Of errors, less is better.
"""
_DOMAINS_HEAD: Final = """\
Every one of them trains with epsilon. The figure is of federations on real data, [below](#on-real-data) in full, where
such data are at hand; in brackets what it is without privacy when steps and rates are [tuned for
that](#beside-a-simple-way). With a star some layers have no rule of their own for the gradients of each patient: they
are differentiated patient by patient, exactly but slowly (`consilium model show NAME` names them).

`python -m benchmarks.every_model` trains all of them, one after another, on generated records in one federation of real
processes, sealed and with epsilon 8, by the studies of `consilium demo --model NAME`. It did so for every one.
"""
_RESULTS_HEAD: Final = """\
## On real data

Each study of `examples/` with `consilium demo --model NAME --data DIR`: real processes, sealed, one run for each
epsilon; the data were divided into sites by the script beside the study. Alone and pooled are simulated on the same
records, mean and standard deviation of one to three trainings each: alone is the mean over the sites, with epsilon 8;
pooled is without privacy. `s` is seconds a round on two CPU cores, shared with other work.
"""
_ELSEWHERE_HEAD: Final = """\
"Other noise" is epsilon 8 with the noise placed the other way (`privacy.placement`): where the study has local noise,
shared noise and one step a round, 20 rounds at most (d); where it has shared noise, local noise and ten rounds (l). It
is measured by `python -m benchmarks.model_studies --elsewhere`; - where it was not.
"""


def page() -> str:
    """The page as the catalogue is now."""
    found = describe_catalogue()
    sections = (line for each in found for line in _section(each))
    return "\n".join([_HEAD, *_domains(found), *_index(found), *_results(), *sections])


def _index(found: tuple[ModelDescription, ...]) -> Iterator[str]:
    """Link the models by task, and by what they take."""
    for heading, words in (
        ("By task", {each.name: list(each.tasks) for each in found}),
        ("By first input", {each.name: [f"`{each.inputs[0].name}` ({each.inputs[0].form})"] for each in found}),
    ):
        yield f"## {heading}\n"
        for word in sorted({word for every in words.values() for word in every}):
            links = ", ".join(f"[{name}](#{name})" for name, every in words.items() if word in every)
            yield fill(f"* **{word}**: {links}", 118, subsequent_indent="  ", break_on_hyphens=False)
        yield ""


def _domains(found: tuple[ModelDescription, ...]) -> Iterator[str]:
    """Show the models of each domain, with one figure of each and its example."""
    examples, figures = _find_examples(), _headline_figures()
    yield f"## The {len(found)} models\n"
    yield _DOMAINS_HEAD
    for domain in dict.fromkeys(each.domain for each in found):
        yield f"### {domain.capitalize()}\n"
        yield "| model | what it is | tasks | parameters (`paper`) | with epsilon 8, without (tuned) | example |"
        yield "| --- | --- | --- | --- | --- | --- |"
        for each in found:
            if each.domain != domain:
                continue
            paper = next(one.parameters for one in each.parameters if one.preset == "paper")
            slow = "*" * bool(list_slow_layers(each.name))
            links = ", ".join(f"[{path.stem}](../{path})" for path in examples.get(each.name, ())) or "generated"
            yield (
                f"| [{each.name}](#{each.name}){slow} | {each.title} | {', '.join(each.tasks)} | {paper:,} | "
                f"{figures.get(each.name, '-')} | {links} |"
            )
        yield ""


def _find_examples() -> dict[str, list[Path]]:
    """List the studies in ``examples/`` of each model."""
    found: dict[str, list[Path]] = {}
    for path in sorted((ROOT / "examples").rglob("*.yaml")):
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "model" in written:
            found.setdefault(written["model"]["name"], []).append(path.relative_to(ROOT))
    return found


def _headline_figures() -> dict[str, str]:
    """Write the figures of each model's first row."""
    measured: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    found: dict[str, str] = {}
    for each in measured.get("studies", ()):
        if "federated" in each:
            found.setdefault(each["model"], _headline_figure(each))
    return found


def _headline_figure(study: dict[str, Any]) -> str:
    private, plain = (_figure(study["federated"].get(epsilon)) for epsilon in ("8", "none"))
    tuned = _find_tuned(study)
    beside = f" ({_figure(tuned['federated'])})" if tuned else ""
    return f"{study['figure']} {private}, {plain}{beside}: {study['data']}"


def _results() -> Iterator[str]:
    if not RESULTS.exists():
        return
    measured: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    yield _RESULTS_HEAD
    placed = any("elsewhere" in each for each in measured["studies"])
    if placed:
        yield _ELSEWHERE_HEAD
    headings = ["model", "data", "sites", "figure", "no privacy", "epsilon 8", "epsilon 3"]
    headings += ["other noise"] * placed + ["alone", "pooled", "parameters", "bytes up", "s"]
    yield f"| {' | '.join(headings)} |"
    yield "| --- " * len(headings) + "|"
    for each in (one for one in measured["studies"] if "federated" in one):
        figures = [_figure(each["federated"].get(epsilon)) for epsilon in ("none", "8", "3")]
        figures += [_elsewhere(each.get("elsewhere"))] * placed
        yield (
            f"| {each['model']} | {each['data']} | {each['sites']} | {each['figure']} | {' | '.join(figures)} | "
            f"{_mean(each['alone'])} | {_mean(each['pooled'])} | {each['parameters']:,} | {each['bytes_up']:,} | "
            f"{each['seconds_per_round']:.1f} |"
        )
    yield ""
    yield from _floors(measured["studies"])
    yield from _paired(measured["studies"])
    yield from _curves(measured["studies"])
    for remark in measured.get("remarks", ()):
        yield fill(f"* {remark}", 118, subsequent_indent="  ")
    yield ""


def _floors(studies: list[dict[str, Any]]) -> Iterator[str]:
    """Show what a simple way reaches beside what the network has without privacy."""
    yield _FLOORS_HEAD
    yield "| model | data | figure | simple way | reaches | as with epsilon | tuned | above |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for each in (one for one in studies if "floor" in one):
        above = " and ".join(list_above_floor(each)) or "neither"
        figures = (_find_untuned(each), _find_tuned(each))
        cells = [", ".join(map(_figure, one.values())) or "-" for one in figures]
        yield (
            f"| {each['model']} | {each['data']} | {each['figure']} | {each['floor']['of']} | "
            f"{_shorten(each['floor']['figure'])} | {' | '.join(cells)} | {above} |"
        )
    yield ""


def list_above_floor(study: dict[str, Any]) -> list[str]:
    """Say which trainings of a row without privacy are better than the simple way, at the digits that are shown."""
    figures = _find_tuned(study) or _find_untuned(study)
    gains = {name: round(value, 3) - round(study["floor"]["figure"], 3) for name, value in figures.items()}
    return [name for name, gain in gains.items() if (-gain if study["lower_is_better"] else gain) > 0]


def _find_untuned(study: dict[str, Any]) -> dict[str, float]:
    return {"federated": study["federated"]["none"], "pooled": study["pooled"]["mean"]}


def _find_tuned(study: dict[str, Any]) -> dict[str, float]:
    if "reference" not in study:
        return {}
    return {way: fmean(study["reference"][way]) for way in ("federated", "pooled")}


def _shorten(value: float) -> str:
    """Write as many digits as were measured, two at least."""
    return f"{value:.2f}" if round(value, 2) == value else _figure(value)


def _curves(studies: list[dict[str, Any]]) -> Iterator[str]:
    """Show from how many patients on a model works, where that was measured."""
    yield f"{_CURVES_HEAD}"
    yield "| model | data | figure | patients: no privacy, as with epsilon | patients: no privacy, tuned | epsilon 8 |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for each in (one for one in studies if has_curve(one)):
        curves = each.get("curves", {})
        untuned = curves.get("no_privacy", {})
        cells = [_list_shares(untuned), _list_shares(_average(find_tuned_shares(each)))]
        if dealt := each.get("reference", {}).get("dealt"):
            cells[-1] += f"; dealt anew {_list_shares(_average(dealt))}"
        cells.append(", ".join(map(_figure, curves.get("noise_of_times_as_many", {}).values())))
        row = [each["model"], each["data"], each["figure"], *(cell or "-" for cell in cells)]
        yield f"| {' | '.join(row)} |"
    yield ""


def _list_shares(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{int(count):,}: {_figure(value)}" for count, value in figures.items())


def _average(figures: Mapping[str, list[float]]) -> dict[str, float]:
    return {count: fmean(values) for count, values in figures.items()}


def has_curve(study: dict[str, Any]) -> bool:
    """Say whether it was measured if more patients would help."""
    return "curves" in study or bool(find_tuned_shares(study))


def find_tuned_shares(study: dict[str, Any]) -> dict[str, list[float]]:
    """Return the figures of each seed by the number of patients, tuned without privacy; all of them last."""
    reference = study.get("reference", {})
    shares: dict[str, list[float]] = reference.get("shares", {})
    return shares and {**shares, reference["patients"]: reference["pooled"]}


def _paired(studies: list[dict[str, Any]]) -> Iterator[str]:
    """Show figures over seeds, and what each epsilon takes of the same seed's figure without privacy."""
    measured = [each for each in studies if "paired" in each]
    if not measured:
        return
    yield _PAIRED_HEAD
    yield "| model | data | figure | no privacy | epsilon 8 | less none | epsilon 3 | less none |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for each in measured:
        paired = each["paired"]
        seeds = list(paired["seeds"].values())
        cells = [_spread([one["none"] for one in seeds])]
        for epsilon in ("8", "3"):
            cells.append(_spread([one[epsilon] for one in seeds]))
            cells.append(_spread([one[epsilon] - one["none"] for one in seeds], sign="+"))
        yield f"| {each['model']} | {paired['data']} | {paired['figure']} | {' | '.join(cells)} |"
    yield ""


def _spread(values: list[float], sign: str = "") -> str:
    return f"{fmean(values):{sign}.3f} ± {stdev(values):.3f}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _elsewhere(found: dict[str, Any] | None) -> str:
    return "-" if found is None else f"{_figure(found['figure'])} ({found['placement'][0]})"


def _mean(pair: dict[str, float | None]) -> str:
    if pair["mean"] is None:
        return "-"
    return f"{pair['mean']:.3f}" + ("" if pair["spread"] is None else f" ± {pair['spread']:.3f}")


def _section(each: ModelDescription) -> Iterator[str]:
    yield f"## {each.name}\n"
    repository = f" Code of the authors: <{each.repository}>." if each.repository else ""
    yield fill(
        f"{each.title}. {each.citation}.{repository} Tasks: {', '.join(each.tasks)}.", 118, break_long_words=False
    )
    if each.figures:
        yield "\n" + fill(each.figures, 118)
    yield ""
    for one in each.inputs:
        yield fill(f"* takes `{one.name}` ({one.form}): {one.meaning}", 118, subsequent_indent="  ")
    for count in each.parameters:
        sizes = ", ".join(f"{axis} {length}" for axis, length in count.sizes.items())
        outputs = "x".join(map(str, count.outputs)) or "1"
        yield fill(
            f"* `{count.preset}` has {count.parameters:,} parameters with {sizes} and {outputs} outputs",
            118,
            subsequent_indent="  ",
        )
    for objective, layers in each.objectives.items():
        yield fill(f"* objective `{objective}` trains {', '.join(f'`{one}`' for one in layers)}", 118)
    yield (
        "\n| option | " + " | ".join(f"`{preset}`" for preset in each.options[0].presets) + " |"
        if each.options
        else ""
    )
    if each.options:
        yield "| --- " * (1 + len(each.options[0].presets)) + "|"
        for option in each.options:
            yield f"| `{option.name}` | " + " | ".join(_value(value) for value in option.presets.values()) + " |"
        yield ""
    if each.replaced:
        yield "| what the paper used | here | why |"
        yield "| --- | --- | --- |"
        for change in each.replaced:
            yield f"| {change.paper} | {change.here} | {change.why} |"
        yield ""


def _value(value: Any) -> str:
    return json.dumps(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
