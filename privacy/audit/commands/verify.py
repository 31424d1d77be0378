"""``consilium-audit verify``: check a ledger, and print what is granted, spent and left for every population.

The file is only read. ``privacy/audit/check_ledger.py`` says what is checked.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from privacy.command_line import print_json, print_text

if TYPE_CHECKING:
    from privacy.accounting.figures import Budget
    from privacy.audit.check_ledger import Verified
    from privacy.keys import PublicKey

_UNCOMPARED: Final = "key from the ledger itself: compare it with what the site gave you"


@click.command()
@click.argument("ledgers", metavar="LEDGER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--key", "keys", metavar="PUBLICKEY", multiple=True, help="The site's public key, as the site gave it to you."
)
@click.option(
    "--head",
    "heads",
    metavar="HASH",
    multiple=True,
    help="The hash of the newest entry, as the site gave it to you.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def verify(ledgers: tuple[Path, ...], keys: tuple[str, ...], heads: tuple[str, ...], as_json: bool) -> None:
    """Check each LEDGER, a site's ledger.sqlite or an export of it, and print every population's budget.

    Recomputes every hash, signature, countersignature, charge and budget, and names the first entry that is wrong.
    With several ledgers, give one --key for each, in the same order, or none; and the same for --head.
    """
    from privacy.audit.check_ledger import check_ledger
    from privacy.audit.read_ledger import parse_key

    for option, given in (("key", keys), ("head", heads)):
        if given and len(given) != len(ledgers):
            raise click.UsageError(
                f"{len(ledgers)} ledgers and {len(given)} {option}s: give one --{option} for each, or none"
            )
    known: list[PublicKey | None] = [parse_key(text) for text in keys] or [None] * len(ledgers)
    seen: list[str | None] = [_parse_head(text) for text in heads] or [None] * len(ledgers)
    found = [check_ledger(ledger, key, head) for ledger, key, head in zip(ledgers, known, seen, strict=True)]
    if as_json:
        documents = [each.model_dump(mode="json") for each in found]
        print_json(documents[0] if len(documents) == 1 else {"ledgers": documents})
        return
    print_text("\n\n".join("\n".join(_format_report(each)) for each in found))


def _parse_head(text: str) -> str:
    """Parse a hash from the command line."""
    if not re.fullmatch("[0-9a-f]{64}", text.strip().lower()):
        raise click.BadParameter(
            f"expected the 64 hexadecimal digits of a SHA-256, got {len(text)} characters", param_hint="--head"
        )
    return text.strip().lower()


def _format_report(found: Verified) -> list[str]:
    lines = [
        f"site         {found.site}",
        f"key          {found.key} ({'as given' if found.key_given else _UNCOMPARED})",
        f"complete     up to entry {found.entries}, written at {found.last_entry}",
        f"head         {found.head} ({_describe_head_comparison(found)})",
        "witnessed    "
        + ("by nobody" if found.witnessed is None else f"newest witnessed head: entry {found.witnessed}"),
    ]
    if found.recovered is not None:
        lines.append(
            f"recovered    from a backup; a lost ledger's totals up to its entry {found.recovered} are taken over"
        )
    if found.form == "sqlite":
        lines.append(
            "tail         a file cannot show that later entries were removed: compare the head, or an export"
        )
    if found.unsettled_rounds:
        lines.append(f"unsettled    rounds reserved and not settled, counted in full: {found.unsettled_rounds}")
    for budget in found.populations:
        lines += ["", *_format_population(budget)]
    if found.attention:
        lines += ["", "attention", *(f"  {each}" for each in found.attention)]
    return lines


def _describe_head_comparison(found: Verified) -> str:
    if found.head_given is None:
        return "compare it with what the site gave you, or give that with --head"
    if later := found.entries - found.head_given:
        return f"the one given is that of entry {found.head_given}; nothing outside this file vouches for {later} later"
    return "as given"


def _format_population(budget: Budget) -> list[str]:
    lines = [f"population   {budget.population}"]
    if budget.epsilon_granted is None:
        lines.append("  granted    nothing")
    else:
        lines += [
            f"  granted    epsilon {grant.epsilon:g}, delta {grant.delta:g}, kept at order {grant.order}"
            for grant in budget.grants
        ]
    if budget.epsilon_spent is None:
        lines.append("  spent      without bound: trained on without privacy, no epsilon describes these patients")
    else:
        lines.append(f"  spent      {budget.epsilon_spent:.4f}")
        lines.append(f"  set aside  {budget.epsilon_set_aside:.4f}")
        lines.append(f"  left       {budget.epsilon_left:.4f}")
    if not budget.held_out_protected:
        lines.append("  held out   test patients: not protected (their totals left without noise)")
    lines.append(f"  studies    {budget.studies}")
    return lines
