"""``consilium-audit verify``: check a ledger, and print what is granted, spent and left for every population.

* Everything is computed again from the bytes: hashes, signatures, what each event costs, what that leaves of each
  grant.
* The file is only read.
* A head that the site gave over another channel must be among the entries: a ledger without it was cut, rewritten,
  or is another one. For the entries after this head there is no proof outside the file.
"""

import re
from pathlib import Path
from typing import Final

import click

from privacy.accounting.figures import Budget
from privacy.audit.read_ledger import parse_key, read_ledger
from privacy.audit.report.findings import list_findings_in_entries
from privacy.audit.report.timeline import Timeline
from privacy.command_line import print_json, print_text
from privacy.document import Document
from privacy.errors import LedgerError
from privacy.keys import PublicKey
from privacy.ledger import LedgerState

_UNCOMPARED: Final = "key from the ledger itself: compare it with what the site gave you"


class Verified(Document):
    """The result of ``verify``. ``key_given`` says whether the key came from another source than the ledger."""

    file: str
    form: str
    site: str
    key: str
    key_given: bool
    entries: int
    head: str
    head_given: int | None
    """The number of the entry whose hash was given; None if no hash was given."""
    last_entry: str
    witnessed: int | None
    recovered: int | None
    unsettled_rounds: int
    populations: tuple[Budget, ...]
    attention: tuple[str, ...]
    """What a reader must not overlook, the most serious first."""


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


def check_ledger(path: Path, key: PublicKey | None, head: str | None = None) -> Verified:
    """Verify the ledger in ``path``, whichever form it has; ``head`` must be the hash of one of its entries.

    Raises:
        LedgerError: it cannot be read, an entry is wrong (named), or the head is not in it.
    """
    timeline = Timeline()
    form, state = read_ledger(path, key, timeline.apply)
    number = None if head is None else state.find_entry_number(head)
    if head is not None and number is None:
        raise LedgerError(
            f"{path}: no entry has the hash {head} that was given; its newest, entry {state.head.number}, has "
            f"{state.head.hash}: its tail was cut off, it was rewritten, or it is another ledger; ask the site for a "
            "new export and the head printed with it"
        )
    return _build_result(path, form, state, key is not None, number, list_findings_in_entries(state, timeline))


def _parse_head(text: str) -> str:
    """Parse a hash from the command line."""
    if not re.fullmatch("[0-9a-f]{64}", text.strip().lower()):
        raise click.BadParameter(
            f"expected the 64 hexadecimal digits of a SHA-256, got {len(text)} characters", param_hint="--head"
        )
    return text.strip().lower()


def _build_result(
    path: Path, form: str, state: LedgerState, key_given: bool, head_given: int | None, attention: list[str]
) -> Verified:
    return Verified(
        file=str(path),
        form=form,
        site=state.site,
        key=state.key.typed,
        key_given=key_given,
        entries=state.head.number,
        head=state.head.hash,
        head_given=head_given,
        last_entry=state.time,
        witnessed=None if state.witnessed is None else state.witnessed.number,
        recovered=None if state.recovered is None else state.recovered.number,
        unsettled_rounds=len(state.unsettled),
        populations=tuple(state.list_budgets()),
        attention=tuple(attention),
    )


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
