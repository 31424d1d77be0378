"""``consilium-site policy``: check, show and move what this site allows a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from models.catalogue import NAMES, find_model
from privacy.command_line import Commands, print_json, print_table, say

if TYPE_CHECKING:
    from client.site.folder import SiteFolder
    from client.site.policy import Policy


@click.group(cls=Commands)
def policy() -> None:
    """What this site allows a study, and who must agree to it: policy.yaml."""


@policy.command("check")
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
@click.pass_obj
def policy_check(home: SiteFolder, file: Path | None) -> None:
    """Check this site's policy, or FILE before it takes its place, and say what it admits without a person."""
    from client.site.policy_file import read_policy

    found = home.policy if file is None else read_policy(file)
    for warning in list_warnings(found, home.config.device):
        say(warning)
    say(describe_admission(found))


@policy.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def policy_show(home: SiteFolder, as_json: bool) -> None:
    """Show every rule that is in force, with what it means, whether the file names it or not."""
    from client.site.policy_file import MEANINGS

    found = home.policy.model_dump(mode="json")
    if as_json:
        print_json(found)
    else:
        print_table(
            ("key", "value", "meaning"), [(key, _format(value), MEANINGS[key]) for key, value in found.items()]
        )


@policy.command("migrate")
@click.pass_obj
def policy_migrate(home: SiteFolder) -> None:
    """Move the policy of an older version out of site.yaml into policy.yaml.

    Its bounds stay. Every study then waits for a person, until somebody writes a rule under 'automatic'.
    """
    from client.site.folder import SITE_FILE
    from client.site.policy import POLICY_FILE
    from client.site.policy_file import migrate_policy

    migrate_policy(home.folder / SITE_FILE)
    say(f"moved the policy to {home.folder / POLICY_FILE}; read it: every study now waits for a person")


def list_warnings(policy: Policy, device: str) -> list[str]:
    """List what in a policy cannot be meant."""
    from client.site.policy import ALL

    warnings = []
    named = {*policy.models, *(model for rule in policy.automatic for model in rule.models or ())} - {ALL}
    if unknown := sorted(each for each in named if each.partition("@")[0] not in NAMES):
        warnings.append(f"no such model in the catalogue: {', '.join(unknown)}; see: consilium model list")
    warnings += _list_other_versions(sorted(named - set(unknown)))
    if not {"auto": {"cpu", "cuda"}}.get(device, {device}) <= set(policy.devices):
        warnings.append(
            f"every study will be refused: site.yaml says device: {device}, which 'devices' does not allow"
        )
    warnings += [
        f"the rule '{rule.name}' admits up to epsilon {rule.epsilon_at_most:g}, but no study may ask for more than "
        f"{policy.epsilon_per_study:g} here"
        for rule in policy.automatic
        if rule.epsilon_at_most > policy.epsilon_per_study
    ]
    if policy.persons == 2 and policy.automatic:
        warnings.append(
            "two people must agree to a study, and the rules under 'automatic' admit some without anybody"
        )
    return warnings


def _list_other_versions(named: list[str]) -> list[str]:
    """List the models that are named in a version that this program does not have."""
    found = []
    for name, _, version in (each.partition("@") for each in named):
        if version and int(version) != (here := find_model(name).version):
            found.append(f"{name}@{version} allows nothing: this program has version {here} of {name}")
    return found


def describe_admission(policy: Policy) -> str:
    """Describe in a sentence what a policy admits without a person."""
    people = "one person" if policy.persons == 1 else f"{policy.persons} people"
    if not policy.automatic:
        return f"the policy holds: every study waits for {people}"
    rules = []
    for rule in policy.automatic:
        bounds = [f"epsilon at most {rule.epsilon_at_most:g}"]
        bounds += [
            f"{what} {', '.join(values)}"
            for what, values in (("study", rule.studies), ("model", rule.models), ("launched by", rule.operators))
            if values
        ]
        if rule.without_privacy:
            bounds.append("or WITHOUT PRIVACY")
        rules.append(f"'{rule.name}' ({', '.join(bounds)})")
    return f"the policy holds: without a person it admits {'; '.join(rules)}; every other study waits for {people}"


def _format(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(each) for each in value) or "[]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
