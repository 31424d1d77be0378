"""Decide whether people must agree to a launch, and whether enough of them have; no I/O.

Rules:

* a rule of the policy's ``automatic`` admits a launch if the launch is within every bound that the rule names. The
  first such rule is the one that the ledger names;
* without one, as many people as ``persons`` says must agree to exactly this launch. An approval of its terms for a
  launch, ahead of it, counts as the agreement of who gave it, and one run of it is used;
* one person who refuses is enough.
"""

from typing import NamedTuple

from client.admission.policy_bounds import allows_model
from client.site.policy import AutomaticRule, Policy
from privacy.keys import PublicKey
from privacy.ledger import LedgerState
from privacy.ledger.decisions import count_agreed, normalise_person
from privacy.ledger.entries import About, Admits, Require
from privacy.study import Terms
from privacy.study.launch import Launch


class Standing(NamedTuple):
    """What people have decided about a launch.

    Attributes:
        required: how many must agree.
        agreed: the names of those who have, in the form in which names are compared.
        refused: the names of those who refused.
        uses_approval: whether an approval ahead of the launch is needed, and used.
    """

    required: int
    agreed: frozenset[str]
    refused: frozenset[str]
    uses_approval: bool

    @property
    def admitted(self) -> bool:
        """Whether enough people have agreed and nobody has refused."""
        return not self.refused and len(self.agreed) >= self.required


def make_requirement(launch: Launch, policy: Policy) -> Require:
    """Make the ledger's entry of what the policy asks of a launch.

    Run by a site.
    """
    order = launch.order.statement
    rule = find_automatic_rule(launch.terms, PublicKey.from_text(order.key), policy)
    return Require(
        study=launch.study,
        launch=launch.digest,
        terms=launch.terms.digest,
        persons=policy.persons if rule is None else 0,
        rule=None if rule is None else rule.name,
        release=policy.release == "person",
        operator=order.operator,
        operator_key=order.key,
        nonce=order.nonce,
        epsilon=launch.terms.asked_epsilon,
        policy=policy.digest,
    )


def find_automatic_rule(terms: Terms, operator: PublicKey | None, policy: Policy) -> AutomaticRule | None:
    """Return the first rule under which nobody needs to agree to ``terms``, launched by ``operator``; None if none.

    Run by a site. Without an operator, before a launch, no rule that names operators applies.
    """
    name = None if operator is None else policy.find_operator(operator)
    return next((rule for rule in policy.automatic if _is_within(terms, name, rule)), None)


def _is_within(terms: Terms, operator: str | None, rule: AutomaticRule) -> bool:
    asked = terms.asked_epsilon
    if terms.counts_only and not rule.statistics:
        return False
    if asked is None:
        if not rule.without_privacy:
            return False
    elif asked > rule.epsilon_at_most:
        return False
    return (
        (rule.studies is None or terms.name in rule.studies)
        and (rule.models is None or terms.counts_only or allows_model(rule.models, terms.model.name))
        and (rule.operators is None or operator in rule.operators)
    )


def judge_decisions(required: Require, state: LedgerState) -> Standing:
    """Judge what people have decided about the launch that ``required`` is about.

    Run by a site, after ``required`` is in its ledger.
    """
    agreed, refused = count_agreed(state.decisions.list_decisions(required.study, About.ADMISSION))
    approval, uses_approval = state.find_approval(required.terms, Admits.LAUNCH), False
    if len(agreed) < required.persons and approval is not None:
        approver = state.find_approver(approval)
        if approver is not None and (name := normalise_person(approver)) not in agreed | refused:
            agreed, uses_approval = agreed | {name}, True
    return Standing(required.persons, frozenset(agreed), frozenset(refused), uses_approval)
