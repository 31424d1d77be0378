"""``consilium model``: the models that a study may name, for the researcher who writes one."""

from typing import TYPE_CHECKING, Any

import click

from models.errors import ModelError
from privacy.command_line import Commands, print_json, print_table
from privacy.errors import TermsError

if TYPE_CHECKING:
    from models.describe import ModelDescription


@click.group(cls=Commands)
def model() -> None:
    """List and explain the models of the catalogue."""


@model.command("list")
@click.option("--domain", help="Only those of this part of medicine: tabular, imaging, records, longitudinal ...")
@click.option("--task", help="Only those that suit this task: binary, survival, segmentation ...")
@click.option("--takes", help="Only those with an input of this name: image, features, visits, sequence ...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_models(domain: str | None, task: str | None, takes: str | None, as_json: bool) -> None:
    """List the models: tasks, inputs, and how many parameters the preset `paper` has.

    Every model trains with epsilon. `epsilon` says how fast: `ready` where each layer has a rule of its own for the
    gradients of each patient; else these layers are differentiated patient by patient (vmap), exactly but slowly.
    """
    from models.describe import describe_catalogue
    from server.study.slow_layers import format_readiness, list_slow_layers

    found = list(describe_catalogue())
    for option, asked, list_words in (
        ("--domain", domain, lambda each: [each.domain]),
        ("--task", task, lambda each: each.tasks),
        ("--takes", takes, lambda each: [one.name for one in each.inputs]),
    ):
        known = {word for each in found for word in list_words(each)}
        found = [each for each in found if asked is None or asked in list_words(each)]
        if not found:
            raise TermsError(
                f"{option}: there is no model of '{asked}'; expected one of {', '.join(sorted(known))}"
            )
    slow = {each.name: list_slow_layers(each.name) for each in found}
    if as_json:
        print_json({"models": [each.model_dump(mode="json") | {"slow_layers": slow[each.name]} for each in found]})
        return
    rows = [
        (
            each.name,
            str(each.version),
            each.domain,
            ", ".join(each.tasks),
            ", ".join(one.name for one in each.inputs),
            f"{next(one.parameters for one in each.parameters if one.preset == 'paper'):,}",
            format_readiness(slow[each.name], len(each.layers)),
        )
        for each in found
    ]
    print_table(("model", "version", "domain", "tasks", "inputs", "parameters", "epsilon"), rows)


@model.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show(name: str, as_json: bool) -> None:
    """Explain the model NAME: inputs, tasks, options, parameters, and what privacy replaced in it."""
    from models.describe import describe_model
    from server.study.slow_layers import format_readiness, list_slow_layers

    try:
        found = describe_model(name)
    except ModelError as error:
        raise TermsError(str(error)) from None
    slow = list_slow_layers(name)
    if as_json:
        print_json(found.model_dump(mode="json") | {"slow_layers": slow})
        return
    ready = ("epsilon", format_readiness(slow, len(found.layers)) + (f": {', '.join(slow)}" if slow else ""))
    print_table(("", ""), [*_list_facts(found), ready, *_list_advice(found)])


def _list_facts(found: "ModelDescription") -> list[tuple[str, str]]:
    rows = [
        ("model", f"{found.name}: {found.title}"),
        ("version", str(found.version)),
        ("from", found.citation + (f"; {found.repository}" if found.repository else "")),
        ("tasks", ", ".join(found.tasks)),
    ]
    rows += [("takes", f"{each.name} ({each.form}): {each.meaning}") for each in found.inputs]
    for each in found.options:
        values = ", ".join(f"{preset} {_format_value(value)}" for preset, value in each.presets.items())
        rows.append(("option", f"{each.name}: {values}"))
    for count in found.parameters:
        sizes = ", ".join(f"{axis} {length}" for axis, length in count.sizes.items())
        outputs = "x".join(map(str, count.outputs)) or "1"
        rows.append(("parameters", f"{count.parameters:,} as {count.preset}, with {sizes}, {outputs} outputs"))
    rows += [("objective", f"{each}: trains {', '.join(layers)}") for each, layers in found.objectives.items()]
    rows += [("replaced", f"{each.paper} -> {each.here}: {each.why}") for each in found.replaced]
    if found.figures:
        rows.append(("figures", found.figures))
    return rows


def _list_advice(found: "ModelDescription") -> list[tuple[str, str]]:
    """List what transfer learning and stages look like for this model."""
    rows = [
        ("layers", ", ".join(found.layers)),
        (
            "transfer",
            f"public weights (model.start) with model.trained: [head] train {found.layers[-1]} alone; with "
            "model.adapters small pairs beside frozen layers: fewer trained parameters, less noise",
        ),
    ]
    if found.objectives:
        rows.append(("stages", "training.stages: one of each objective, then one of 'task'"))
    return rows


def _format_value(value: Any) -> str:
    return str(value).replace("'", "") if not isinstance(value, bool) else str(value).lower()
