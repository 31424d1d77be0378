"""Write ``docs/policy.md``: every key of ``policy.yaml`` and of the hooks, from the program's own explanations.

Run ``python -m tests.docs.policy_page``.
"""

import json
from typing import Final

from client.site.hooks import EventKind, HookEvent
from client.site.policy import Policy
from client.site.policy_file import MEANINGS
from privacy.labels import HOOK_EVENT
from privacy.signed import Signed
from tests.docs.pages import ROOT
from tests.privacy.launch_makers import SITE_KEYS

PAGE: Final = ROOT / "docs" / "policy.md"

_EVENTS: Final = {
    EventKind.APPROVAL_WANTED: "a study, or the release of its model, waits for this site's people",
    EventKind.STUDY_FINISHED: "a study has ended here",
    EventKind.INCIDENT: "an incident is in the ledger: training failed, a round void or too long, a ledger put back",
    EventKind.BUDGET_LOW: "an admission has left a population less epsilon than `budget_below`",
    EventKind.CERTIFICATE_ENDS: "a certificate of this site runs out soon",
}

_TEXT: Final = """\
# The policy of a site

For the data protection officer of a site. `policy.yaml` in the site's folder says what a study may be, and who must
agree to it. It is read anew for every study. After every change: `consilium-site policy check`; what is in force,
with its meaning: `consilium-site policy show`.

## How a study is judged

1. **Bounds first.** A study outside any bound is refused at once, with the bound in the sentence.
2. **Then people.** A study within all bounds waits. `consilium-site status` lists it, `consilium-site approve STUDY
   --by NAME` shows what it is, who launched it, which columns it uses, who takes part, what it costs of the budget
   and what it does not protect, and signs the decision into the ledger; so does `consilium-site refuse`. One
   refusal is enough. With `persons: 2` two people must agree, told apart by the names they give.
3. **Except by a rule.** `automatic` lists rules under which a study needs no person. None is there unless somebody
   writes one, and the ledger names the rule:

```yaml
operators:
  ada: {key}
automatic:
  - name: lung-series
    epsilon_at_most: 1.0
    studies: [lungs-2026]
    models: [logistic, mlp]
    operators: [ada]
```

A rule names at least an epsilon. What else it names narrows it. A study without privacy is meant only where the
rule says `without_privacy: true`, and the population must be listed under the policy's `without_privacy` as well.
[Statistics](feasibility.md) are meant only where it says `statistics: true`, and the policy's own `statistics` must
not be `nobody`.

`mlp@1` under `models` is version 1 of `mlp` alone; `mlp` is every version. A model's version rises when it computes
something else (`consilium model list`). What counts is the version that this site's own program would train with, and
a launch is for exactly one program in any case: naming versions here makes a new program's new model wait for you.

A decision is about exactly one launch: other terms, another site on the roster, or the same terms launched again
need another decision. Which launch was shown is checked again when the decision is recorded. An operator's order is for
one launch. To agree ahead of a launch: `consilium-site approve STUDY.yaml --by NAME`, for one launch or `--runs`. It
shows and asks the same, as far as the terms say it. An [audit](privacy-systems/empirical-audit.md) on the site's own
patients always needs such an approval, with `--for audit`, whatever `automatic` says; it admits no launch, and one for
a launch admits no audit. With `persons: 2` there is no such audit. It is the same with a [training
alone](privacy-systems/individual-filters.md) (`consilium-site train-alone`), `--for alone`, which `individual_filters`
must allow too; with `release: person` there is none.

With `release: person` a finished model is kept unpublished in the study's folder until `consilium-site release
approve STUDY --by NAME`. The other sites have the same model, by their own policies.

A policy of an older version, in `site.yaml`, is moved by `consilium-site policy migrate`. Its bounds stay; every
study then waits for a person.

## Every key

| key | unless changed | meaning |
| --- | --- | --- |
{rows}

Quotas (`epsilon_per_year`, `epsilon_per_operator`) add up what admitted studies have asked for in their terms; a
study that was closed before it paid for anything does not count, nor do audits and trainings alone, which a person has
approved one by one. Outside its `hours`, and after a round that took
longer than `minutes_per_round`, a site counts as away: nothing is refused, and the study goes on without it if
enough others are there.

## Hooks

`hooks` in `site.yaml` names a program or a server of the site's own for each class of events:

```yaml
hooks:
  approval_wanted: {{program: [/usr/local/bin/mail-dpo, urgent], timeout_s: 10}}
  incident: {{url: "https://tickets.hospital.example/consilium"}}
  budget_below: 1.0
```

| event | when |
| --- | --- |
{events}

A program reads one JSON document from its standard input; a server gets the same as the body of a POST. The
signature is by the site's identity key over `{label}`, a zero byte, and the statement's canonical bytes:

```json
{example}
```

A hook never delays a study: events wait in a queue of at most 100, each is tried three times, and what could not be
told is in the site's log. A program is started without a shell and with an empty environment, and killed with
everything that it started when `timeout_s` is over. A URL is https, or http to this machine; a redirection is a
failure.

## What this does not show

`--by` is what somebody wrote; the ledger shows that this site entered it, and under which account of the machine.
Two names from one account are two people as far as the program can tell. Whoever can write in the site's folder can
change the policy: the ledger has the digest of the policy under which each study was judged.
"""


def page() -> str:
    """The page as the program's explanations make it."""
    defaults = Policy().model_dump(mode="json")
    rows = "\n".join(f"| `{key}` | `{_format(defaults[key])}` | {MEANINGS[key]} |" for key in defaults)
    event = HookEvent(
        site="ash",
        key=SITE_KEYS["ash"].public.text,
        event=EventKind.APPROVAL_WANTED,
        time="2026-03-02T08:00:00Z",
        study="lungs-2026-1a2b3c4d",
        sentence="'lungs-2026-1a2b3c4d' waits for a decision of this site's people",
    )
    return _TEXT.format(
        key=SITE_KEYS["birch"].public.typed,
        rows=rows,
        events="\n".join(f"| `{kind}` | {words} |" for kind, words in _EVENTS.items()),
        label=HOOK_EVENT,
        example=Signed[HookEvent].sign(SITE_KEYS["ash"], event).to_bytes().decode(),
    )


def _format(value: object) -> str:
    if value == "":
        return '""'
    return ", ".join(map(str, value)) if isinstance(value, list) and value else json.dumps(value).strip('"')


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
