"""Compare two packs of evidence of one site, and list what has changed between them.

Rules:

* packs are of one site, the earlier one first;
* a ledger grows: a later pack that shows fewer entries, or the same number with another hash, contradicts the earlier
  one, unless its ledger was restored between them, which is a change that stands in the ledger;
* everything else is a change that people judge; none is an error.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from privacy.errors import ContradictionError, WireError
from privacy.keys import PublicKey
from privacy.ledger.evidence import Evidence, EvidencePack
from privacy.sbom import Sbom


class Change(NamedTuple):
    """One difference: what it is of, and from what to what."""

    subject: str
    sentence: str


def list_changes(earlier: EvidencePack, later: EvidencePack) -> list[Change]:
    """List what has changed between two packs that are verified.

    Raises:
        WireError: they are of two sites, or given in the wrong order.
        ContradictionError: the ledger went back and does not say that it was restored.
    """
    before, after = earlier.evidence.statement, later.evidence.statement
    if before.site != after.site:
        raise WireError(f"the earlier pack is of '{before.site}', the other of '{after.site}': nothing to compare")
    if before.time > after.time:
        raise WireError(f"the earlier pack is of {before.time}, the other of {after.time}: exchange them")
    _require_grown(before, after)
    return [
        *_compare("key", _describe_key(before), _describe_key(after)),
        *_compare("program", before.program.short, after.program.short),
        *_compare("python", before.python, after.python),
        *_compare("system", before.system, after.system),
        *_compare_maps("package", _list_packages(earlier.sbom), _list_packages(later.sbom)),
        *_compare_maps("policy", before.policy, after.policy),
        *_compare_maps("launcher", before.launcher.model_dump(), after.launcher.model_dump()),
        *_compare_maps("hook", dict.fromkeys(before.hooks, "set"), dict.fromkeys(after.hooks, "set")),
        *_compare("proxy", before.proxy, after.proxy),
        *_compare("metrics", before.metrics, after.metrics),
        *_compare_maps("peer", before.pins.peers, after.pins.peers),
        *_compare_maps("consortium", _dump(before.pins.consortium), _dump(after.pins.consortium)),
        *_compare_maps("coordinator", _dump(before.coordinator), _dump(after.coordinator)),
        *_compare_maps("check", _list_lights(before), _list_lights(after)),
        *_compare_ledgers(before, after),
    ]


def _require_grown(before: Evidence, after: Evidence) -> None:
    old, new = before.ledger.statement, after.ledger.statement
    went_back = new.number < old.number or (new.number == old.number and new.hash != old.hash)
    if went_back and new.recovered == old.recovered:
        raise ContradictionError(
            f"the ledger of '{after.site}' had entry {old.number} ({old.hash[:16]}) on {before.time}, and ends with "
            f"entry {new.number} ({new.hash[:16]}) on {after.time} without saying that it was restored: ask the site "
            "for an export, and compare it: consilium-audit reconcile"
        )


def _compare_ledgers(before: Evidence, after: Evidence) -> Iterator[Change]:
    old, new = before.ledger.statement, after.ledger.statement
    if new.recovered != old.recovered:
        yield Change("ledger", "was restored from a backup; a lost ledger's totals are taken over")
    if (old.number, old.hash) != (new.number, new.hash):
        yield Change("ledger", f"entry {old.number} -> entry {new.number}")


def _compare(subject: str, before: Any, after: Any) -> Iterator[Change]:
    if before != after:
        yield Change(subject, f"{_format(before)} -> {_format(after)}")


def _compare_maps(subject: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted({*before, *after}):
        match name in before, name in after:
            case True, False:
                yield Change(subject, f"{name}: {_format(before[name])} is gone")
            case False, True:
                yield Change(subject, f"{name}: {_format(after[name])} is new")
            case _ if before[name] != after[name]:
                yield Change(subject, f"{name}: {_format(before[name])} -> {_format(after[name])}")


def _format(value: Any) -> str:
    """Format a value on one line, as it may be shown at a terminal whoever wrote it."""
    return value.replace("\n", " ") if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _list_packages(sbom: Sbom) -> dict[str, str]:
    return {each.name: f"{each.version} (RECORD {each.record[:12] or 'missing'})" for each in sbom.components}


def _list_lights(evidence: Evidence) -> dict[str, str]:
    return {each.check: str(each.light) for each in evidence.checks}


def _describe_key(evidence: Evidence) -> str:
    return PublicKey.from_text(evidence.key).typed


def _dump(document: Any) -> dict[str, Any]:
    return {} if document is None else document.model_dump(mode="json")
