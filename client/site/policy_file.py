"""Read and write ``policy.yaml``, with an explanation of every key beside it, and move an old policy there.

The file is the data protection officer's: it is read anew for every study, and what cannot be read decides nothing.
``docs/policy.md`` is made of the same explanations.
"""

from pathlib import Path
from typing import Any, Final

import yaml

from client.site.policy import POLICY_FILE, Policy
from privacy.document import parse, read_yaml
from privacy.errors import SiteConfigError
from privacy.files import replace_file

MEANINGS: Final = {
    "models": (
        "The models of the catalogue that a study may train here: mlp for every version, mlp@1 for this one alone. "
        "'all' stands for every one."
    ),
    "units": "What the privacy of a study may protect: a patient, a record of theirs, or a whole site.",
    "placements": (
        "Where the noise may be added: at each site (local), in shares by all of them (distributed), or at each site "
        "with lots in a fixed order and noise that later steps cancel a part of (correlated, only where it is named)."
    ),
    "epsilon_per_study": "The most epsilon that training and evaluation of one study may ask for together.",
    "epsilon_per_operator": (
        "The most epsilon that all studies launched by one operator may ask for together; only with 'operators', since "
        "anybody can make one more key. null: no bound of its own; the budget that was granted bounds all studies."
    ),
    "epsilon_per_year": "The most epsilon that the studies of any 365 days may ask for together. null: no bound.",
    "minimum_sites": "The fewest sites that a round may have.",
    "minimum_colluders": (
        "Against how many sites that conspire with the coordinator a study must protect at least."
    ),
    "minimum_patients": "The fewest patients of this site with which it takes part.",
    "most_quarantined": (
        "The largest share of rows, images or other items that 'data add --mapping' may leave out as they cannot be "
        "used; beyond it nothing is made. 0 to 1."
    ),
    "without_privacy": (
        "Populations that a study without privacy may use. Once such a study has trained, their patients can never "
        "again be in a study with privacy."
    ),
    "sealing_schemes": (
        "The schemes under which a study's updates may be sealed: bfv, which protects most; paillier and lwe, for "
        "comparison, with the same masks."
    ),
    "open_sealing": "Whether a study may leave its updates unsealed, so that the coordinator reads each of them.",
    "unprotected_test_patients": "Whether the totals of test patients may leave this site without noise.",
    "individual_filters": (
        "Whether this site may train alone with a filter for each patient (consilium-site train-alone): whoever has "
        "spent their own budget is left out, and nobody may know who. A person approves each training all the same."
    ),
    "statistics": (
        "Who may ask for statistics of this site's patients, together with those of other sites (consilium study "
        "feasibility): nobody; operators: those who are listed under 'operators'; anybody whom the coordinator lets "
        "launch. A person must agree all the same, unless a rule under 'automatic' says statistics: true."
    ),
    "operators": (
        "The people who may launch studies for this site, by name, with the keys that they have read to you: "
        "{ada: k1...}. {}: anybody whom the coordinator lets launch."
    ),
    "devices": "What training may run on: cpu, cuda.",
    "hours": (
        "When training may run, by this machine's clock, such as ['20:00-06:00']. At other times the site counts as "
        "away. Over midnight where the first time is the later one. []: at any time."
    ),
    "megabytes_per_round": "The most that the sealed update of one round may have, in 10^6 bytes. null: no bound.",
    "minutes_per_round": (
        "The most minutes that the training of one round may take. A study that took longer trains no further here "
        "until this is raised. null: no bound."
    ),
    "persons": "How many people must agree to a study before it is admitted: 1 or 2.",
    "automatic": (
        "Rules under which a study is admitted without a person. Each has a name and epsilon_at_most, and may be "
        "narrowed by studies, models and operators. It admits no statistics unless it says statistics: true. []: none; "
        "every study waits for a person."
    ),
    "release": "Whether a finished model is released at once (automatic), or waits for a person (person).",
    "contact": "Whom the coordinator's operator calls about a study that waits here: a name and a telephone number.",
}
"""What each key of the policy means."""

MIGRATE: Final = "consilium-site policy migrate"

_HEAD: Final = """\
# What this site allows a study, and who must agree to it. This file is the data protection officer's.
# It is read anew for every study. Check it after every change: consilium-site policy check
"""


def read_policy(path: Path) -> Policy:
    """Read a policy.

    Raises:
        SiteConfigError: it cannot be read, or has mistakes; the message lists every one of them.
    """
    if not path.exists():
        raise SiteConfigError(
            f"{path}: missing; restore it, or, where site.yaml still holds the policy, run: {MIGRATE}"
        )
    return read_yaml(path, Policy, SiteConfigError)


def write_policy(folder: Path, policy: Policy) -> None:
    """Write ``policy`` into the site's folder, with an explanation of every key.

    Raises:
        SiteConfigError: it cannot be written.
    """
    replace_file(folder / POLICY_FILE, format_policy(policy).encode("utf-8"), SiteConfigError)


def format_policy(policy: Policy) -> str:
    """Format a policy as YAML with an explanation before every key."""
    parts = [_HEAD]
    for key, value in policy.model_dump(mode="json", exclude_none=False).items():
        parts += ["\n", _format_comment(MEANINGS[key]), yaml.safe_dump({key: value}, sort_keys=False)]
    return "".join(parts)


def migrate_policy(site_file: Path) -> Policy:
    """Move the policy out of ``site.yaml`` into a file of its own, and return it.

    Its bounds stay. What admitted studies without a person does not: from now on each study waits for one, until
    somebody writes a rule under ``automatic``.

    Raises:
        SiteConfigError: there is no policy in ``site.yaml``, there is a ``policy.yaml`` already, or a file cannot be
            read or written.
    """
    path = site_file.parent / POLICY_FILE
    try:
        text = site_file.read_text(encoding="utf-8")
        config = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        raise SiteConfigError(f"{site_file}: cannot be read as YAML") from None
    if not isinstance(config, dict) or "policy" not in config:
        raise SiteConfigError(f"{site_file}: holds no policy; nothing was changed")
    old = config.pop("policy")
    if path.exists():
        raise SiteConfigError(
            f"{path}: exists already; look at both, and remove 'policy:' from {site_file.name} yourself"
        )
    fields: dict[str, Any] = dict(old) if isinstance(old, dict) else {}
    fields.pop("approval", None)
    policy = parse(fields, Policy, SiteConfigError, f"{site_file}: policy")
    write_policy(site_file.parent, policy)  # first: a crash leaves both, and the site refuses to guess
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    replace_file(site_file, (head + yaml.safe_dump(config, sort_keys=False)).encode("utf-8"), SiteConfigError)
    return policy


def _format_comment(words: str) -> str:
    lines, line = [], "#"
    for word in words.split():
        if len(line) + len(word) + 1 > 118:
            lines.append(line)
            line = "#"
        line += f" {word}"
    return "\n".join([*lines, line]) + "\n"
