"""``consilium-audit verify-evidence``: check a site's pack of evidence offline, and say what it shows.

* Signature, the digest of the list of packages, and the head of the ledger in the pack are checked; with the ledger,
  that this head and its totals are in it, and how many launches were judged by the policy that the pack shows.
* The pack is the site's word. ``--key`` says whose; a digest shows what is installed only beside one of your own.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from privacy.command_line import print_json, print_text, say
from privacy.errors import WireError
from privacy.files import replace_file

if TYPE_CHECKING:
    from privacy.audit.check_evidence import VerifiedEvidence
    from privacy.ledger.evidence import Evidence, EvidencePack

_DAY_S: Final = 86400.0
_CLOCKS_S: Final = 300.0
"""As much as clocks may differ before a time counts as in the future."""


@click.command("verify-evidence")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--key", "typed_key", metavar="PUBLICKEY", help="The site's public key, as the site gave it to you.")
@click.option("--ledger", type=click.Path(path_type=Path), help="The site's ledger, or an export of it.")
@click.option(
    "--since", type=click.Path(path_type=Path), help="An earlier pack of this site: show what has changed."
)
@click.option("--max-days", type=click.FloatRange(min=0), help="Refuse a pack that is older.")
@click.option("--sbom", type=click.Path(path_type=Path), help="Write the list of packages (CycloneDX 1.5) here.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def verify_evidence(
    file: Path,
    typed_key: str | None,
    ledger: Path | None,
    since: Path | None,
    max_days: float | None,
    sbom: Path | None,
    as_json: bool,
) -> None:
    """Check FILE, which 'consilium-site evidence' has written, and print what it shows.

    A pack that was changed, is another site's, or too old ends the command with 61; one that the ledger or an
    earlier pack contradicts, with 29.
    """
    from privacy.audit.check_evidence import VerifiedEvidence, compare_with_ledger
    from privacy.audit.evidence_changes import list_changes
    from privacy.audit.read_ledger import parse_key
    from privacy.ledger.evidence import read_evidence
    from privacy.ledger.ledger import read_utc_time

    key = None if typed_key is None else parse_key(typed_key)
    if sbom is not None and sbom.exists():
        raise click.UsageError(f"{sbom} is there already: name another file")
    pack, said = read_evidence(file, key)
    age_days = (read_utc_time() - datetime.datetime.fromisoformat(said.time)) / datetime.timedelta(seconds=_DAY_S)
    if age_days * _DAY_S < -_CLOCKS_S:
        raise WireError(f"{file}: it is of {said.time}, which is in the future: one of the two clocks is wrong")
    if max_days is not None and age_days > max_days:
        raise WireError(
            f"{file}: it is {age_days:.1f} days old, at most {max_days:g} are allowed; ask the site for a new one: "
            "consilium-site evidence FILE"
        )
    earlier = None if since is None else read_evidence(since)[0]
    packs = [pack] if earlier is None else [earlier, pack]
    found = VerifiedEvidence(
        file=str(file),
        key_given=key is not None,
        age_days=round(max(age_days, 0.0), 3),
        evidence=said,
        policy_digest=said.policy_digest,
        packages=len(pack.sbom.components),
        ledger=None if ledger is None else compare_with_ledger(ledger, packs),
        changes=None if earlier is None else tuple(f"{a}: {b}" for a, b in list_changes(earlier, pack)),
        attention=(*_list_attention(said), *_doubt_changed_key(earlier, said, ledger_given=ledger is not None)),
    )
    if sbom is not None:
        replace_file(sbom, pack.sbom.to_bytes(), WireError)
        say(f"wrote {sbom}, {found.packages} packages")
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_text("\n".join(_format_report(found)))


def _list_attention(said: Evidence) -> list[str]:
    from privacy.health import Light

    lines = [f"{each.check}: {each.found}" for each in said.checks if each.light is Light.RED]
    if said.witnessed is None:
        lines.append("ledger: no coordinator has countersigned any entry")
    if said.policy.get("automatic"):
        lines.append("policy: studies may be admitted without a person (automatic)")
    lines += [
        f"policy: {name} is allowed"
        for name in ("without_privacy", "open_sealing", "unprotected_test_patients")
        if said.policy.get(name)
    ]
    return [line.replace("\n", " ") for line in lines]


def _doubt_changed_key(earlier: EvidencePack | None, said: Evidence, *, ledger_given: bool) -> list[str]:
    if earlier is None or earlier.evidence.statement.key == said.key or ledger_given:
        return []
    return [
        "key: it is another one than in the earlier pack; only the ledger shows that both are the site's: --ledger"
    ]


def _format_report(found: VerifiedEvidence) -> list[str]:
    from privacy.health import Light
    from privacy.keys import PublicKey

    said = found.evidence
    head, pins, joined = said.ledger.statement, said.pins, said.coordinator
    lights = [each.light for each in said.checks]
    key = PublicKey.from_text(said.key).typed
    consortium = "" if pins.consortium is None else f"; the consortium '{pins.consortium.name}' is trusted"
    lines = [
        f"site         {said.site}",
        f"key          {key} ({'as given' if found.key_given else 'from the pack: compare it, or give it with --key'})",
        f"time         {said.time}, {found.age_days:.1f} days ago",
        f"program      {said.program.short}, Python {said.python}, {said.system}",
        f"code         {said.program.code}",
        f"packages     {found.packages}, as signed",
        f"policy       {found.policy_digest}",
        f"in force     {said.launcher.in_force}".replace("\n", " "),
        f"hooks        {', '.join(said.hooks) or 'none'}",
        f"peers        {', '.join(sorted(pins.peers)) or 'none'} pinned{consortium}",
        "coordinator  "
        + (
            "not joined"
            if joined is None
            else f"{joined.federation} at {joined.address}, {joined.key}; this site's certificate "
            + ("cannot be used" if joined.certificate_ends is None else f"ends on {joined.certificate_ends[:10]}")
        ),
        f"ledger       entry {head.number}, {head.hash} ({_describe_comparison(found)})",
        f"witnessed    {'by nobody' if said.witnessed is None else f'up to entry {said.witnessed}'}",
        f"checks       {lights.count(Light.GREEN)} green, {lights.count(Light.AMBER)} amber, "
        f"{lights.count(Light.RED)} red",
    ]
    for title, rows in (("attention", found.attention), ("changed", found.changes)):
        if rows:
            lines += ["", title, *(f"  {each}" for each in rows)]
    if found.changes == ():
        lines += ["", "nothing has changed since the earlier pack but its time"]
    return lines


def _describe_comparison(found: VerifiedEvidence) -> str:
    if found.ledger is None:
        return "not compared: give the ledger with --ledger"
    decided = f"{found.ledger.under_this_policy} of {found.ledger.launches} launches were judged by this policy"
    later = f", followed by {found.ledger.later} later" if found.ledger.later else ", the newest"
    return f"in the ledger{later}; {decided}"
