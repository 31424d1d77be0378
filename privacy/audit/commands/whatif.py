"""``consilium-audit whatif``: which studies still fit in a population's budget, by its ledger.

Rules:

* The ledger is verified first; a ledger that does not verify gives no answer.
* A study is paid from one grant: the first with room for all of it. Prices are computed as in the ledger
  (``privacy/accounting/renyi_filter.py``, at each grant's order), so an answer of 3 means that the site would admit
  3 studies, and no fourth.
* What is set aside for studies that are still open is not left. It may come back when they close.
* A study described by ``--rounds`` has training only. A study like another one has that one's evaluations too.
"""

from __future__ import annotations

from decimal import Decimal
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from privacy.command_line import print_json, print_table, print_text

if TYPE_CHECKING:
    from privacy.accounting.events import AnyEvent
    from privacy.audit.what_if import WhatIf


class _Finite(click.FloatRange):
    """A number in a range; NaN is refused, which ``click.FloatRange`` accepts."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        return self.fail(f"{value} is not a number", param, ctx) if isnan(number) else number


@click.command()
@click.argument("ledger", metavar="LEDGER", type=click.Path(path_type=Path))
@click.option("--population", metavar="NAME", required=True, help="Whose budget.")
@click.option(
    "--like", metavar="STUDY", help="Studies like this one of the ledger: how many rounds, how many studies?"
)
@click.option("--studies", type=click.IntRange(1, 10_000), help="So many studies: which noise multiplier fits?")
@click.option(
    "--noise-multiplier", type=_Finite(0.01, 1e6), help="Studies with this noise multiplier: how many fit?"
)
@click.option("--rounds", type=click.IntRange(1, 10_000), help="Rounds of training in a study.")
@click.option("--steps", type=click.IntRange(1, 100_000), help="DP-SGD steps in a round.")
@click.option("--sampling-rate", type=_Finite(1e-9, 1), help="Each patient's chance to be in a step, 0 < q <= 1.")
@click.option("--key", metavar="PUBLICKEY", help="The site's public key, as the site gave it to you.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def whatif(
    ledger: Path,
    population: str,
    like: str | None,
    studies: int | None,
    noise_multiplier: float | None,
    rounds: int | None,
    steps: int | None,
    sampling_rate: float | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Compute what would still fit in the budget of a population, by LEDGER.

    Ask one of three questions: --like STUDY; or --studies N, which noise multiplier lets N studies fit; or
    --noise-multiplier X, how many studies with it fit. The last two describe a study by --rounds, --steps and
    --sampling-rate.
    """
    from privacy.audit.read_ledger import parse_key, read_ledger
    from privacy.audit.what_if import Shape, compute_answer, find_least_noise, find_plan, find_usable_account

    if sum(each is not None for each in (like, studies, noise_multiplier)) != 1:
        raise click.UsageError("ask one question: --like, --studies or --noise-multiplier")
    if like is not None and any(each is not None for each in (rounds, steps, sampling_rate)):
        raise click.UsageError("--like takes rounds, steps and sampling rate from the study: leave them out")
    given = None if key is None else parse_key(key)
    state = read_ledger(ledger, given)[1]
    account = find_usable_account(state, population)
    if like is not None:
        plan = find_plan(state, like)
    elif rounds is None or steps is None or sampling_rate is None:
        raise click.UsageError("describe a study: --rounds, --steps and --sampling-rate")
    else:
        shape = Shape(rounds=rounds, steps=steps, sampling_rate=sampling_rate)
        plan = [shape.make_planned_training(noise_multiplier or find_least_noise(account, shape, studies or 1))]
    answer = compute_answer(state, given is not None, account, plan, like)
    if as_json:
        print_json(answer.model_dump(mode="json"))
    else:
        _print_answer(answer)


def _describe_event_exactly(event: AnyEvent) -> str:
    """Describe an event with all digits of its noise: with less noise the study may not fit."""
    fields = event.model_dump(exclude={"kind"}).items()
    return ", ".join(f"{name.replace('_', ' ')} {str(value).removesuffix('.0')}" for name, value in fields)


def _print_answer(answer: WhatIf) -> None:
    from privacy.accounting.figures import round_up

    origin = "as given" if answer.key_given else "from the ledger itself: compare it with what the site gave you"
    lines = [
        f"site         {answer.site}",
        f"key          {answer.key} ({origin})",
        f"complete     up to entry {answer.entries}",
        f"population   {answer.population}",
        *(f"a study      {part.times} rounds: {_describe_event_exactly(part.event)}" for part in answer.training),
        f"alone        epsilon {round_up(Decimal(answer.epsilon_alone)):.4f} at delta {answer.delta:g}, its rounds "
        "fixed in advance",
        f"would fit    {answer.studies} such studies, or one of up to {answer.rounds} rounds",
    ]
    if answer.rounds_to_do:
        lines.append(
            f"set aside    '{answer.like}' itself has {answer.rounds_to_do} rounds to do, paid for already"
        )
    print_text("\n".join([*lines, ""]))
    print_table(
        ["grant", "epsilon", "delta", "order", "left", "a study adds", "rounds", "studies"],
        [
            [
                str(room.grant),
                f"{room.epsilon:g}",
                f"{room.delta:g}",
                str(room.order),
                f"{room.epsilon_left:.4f}",
                f"{room.epsilon_of_study:.4f}",
                str(room.rounds),
                str(room.studies),
            ]
            for room in answer.grants
        ],
    )
