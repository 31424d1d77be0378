"""Compare a study's terms with the bounds of this site's policy; no I/O.

Whatever people decide, and whoever launched it, a study outside one of these bounds is refused. What concerns the
launch itself (who ordered it, over which sites, for which program) is in ``client/admission/rules.py``.
"""

from collections.abc import Collection, Iterator

from client.site.policy import ALL, Policy
from models.catalogue import NAMES, check_options, find_model
from models.errors import ModelError
from models.fit import check_fit
from privacy.errors import RefusedError
from privacy.keys import PublicKey
from privacy.refusal_codes import RefusalCode
from privacy.study import SchemeName, Terms


def list_policy_reasons(terms: Terms, policy: Policy, population: str | None) -> Iterator[RefusedError]:
    """List every bound of ``policy`` that ``terms`` would break with the patients of ``population``.

    Run by a site.
    """
    if not terms.counts_only:
        yield from _list_model_reasons(terms, policy)
    bounds: tuple[tuple[str, str, tuple[str, ...]], ...] = (
        ("unit", terms.privacy.unit, policy.units),
        ("placement", terms.privacy.placement, policy.placements),
    )
    scheme = terms.secure_aggregation.scheme
    if scheme is not SchemeName.OPEN and scheme not in policy.sealing_schemes:
        yield RefusedError(
            RefusalCode.POLICY,
            f"the study's updates are sealed under the scheme '{scheme}', this site allows: "
            f"{', '.join(policy.sealing_schemes)} (sealing_schemes in policy.yaml)",
        )
    for what, asked, allowed in bounds:
        if asked not in allowed:
            yield RefusedError(
                RefusalCode.POLICY,
                f"the study's privacy has the {what} '{asked}', this site allows: {', '.join(allowed)}",
            )
    if terms.cohort.minimum < policy.minimum_sites:
        yield RefusedError(
            RefusalCode.POLICY,
            f"the study may run with {terms.cohort.minimum} sites, this site asks for {policy.minimum_sites}",
        )
    if scheme is SchemeName.OPEN and not policy.open_sealing:
        yield RefusedError(
            RefusalCode.POLICY,
            "the study's updates are not sealed (secure_aggregation.scheme: open), which this site does not allow",
        )
    if terms.cohort.colluders < policy.minimum_colluders:
        yield RefusedError(
            RefusalCode.POLICY,
            f"the study protects against {terms.cohort.colluders} sites that conspire with the coordinator, this site "
            f"asks for {policy.minimum_colluders}",
        )
    epsilon = terms.privacy.epsilon
    if epsilon is None and population not in policy.without_privacy:
        yield RefusedError(
            RefusalCode.POLICY,
            "the study has no privacy (epsilon: none), which this site does not allow for these patients: once trained "
            "on, they can never be in a study with privacy again; whoever means it lists their population under "
            "without_privacy in policy.yaml",
        )
    in_all = terms.asked_epsilon
    if epsilon is not None and in_all is not None and in_all > policy.epsilon_per_study:
        scored = in_all - epsilon
        asked = f"{in_all:g}" if not scored else f"{epsilon:g} to train and {scored:g} to evaluate"
        yield RefusedError(
            RefusalCode.POLICY,
            f"the study asks for epsilon {asked}, this site allows {policy.epsilon_per_study:g} a study in all",
        )
    bare = terms.evaluation.rounds and terms.evaluation.epsilon is None
    if epsilon is not None and bare and not policy.unprotected_test_patients:
        yield RefusedError(
            RefusalCode.POLICY,
            "the study's evaluation does not protect test patients, which this site does not allow",
        )


def list_statistics_reasons(terms: Terms, policy: Policy, operator: PublicKey | None) -> Iterator[RefusedError]:
    """List why ``operator`` may not ask for statistics here; before a launch, when there is none, only if nobody may.

    Run by a site.
    """
    if not terms.counts_only:
        return
    if policy.statistics == "nobody":
        yield RefusedError(
            RefusalCode.POLICY,
            "statistics of this site's patients are given to nobody; whoever allows them writes statistics: operators, "
            "or anybody, in policy.yaml",
        )
    elif policy.statistics == "operators" and operator is not None and policy.find_operator(operator) is None:
        yield RefusedError(
            RefusalCode.POLICY,
            f"statistics of this site's patients are given to operators whom its policy lists; {operator.typed} is not "
            "under 'operators'",
        )


def allows_model(allowed: Collection[str], name: str) -> bool:
    """Return whether ``allowed``, of a policy, holds the model ``name`` in the version that this site's program has.

    Run by a site.
    """
    if {ALL, name} & set(allowed):
        return True
    versions = [each for each in allowed if each.startswith(f"{name}@")]
    if not versions or name not in NAMES:
        return False  # and torch, which a model's entry loads, is not needed
    return f"{name}@{find_model(name).version}" in versions


def _refuse_model(name: str, policy: Policy) -> RefusedError:
    version = find_model(name).version
    return RefusedError(
        RefusalCode.POLICY,
        f"the model '{name}', version {version} in this site's program, is not allowed here; allowed: "
        f"{', '.join(policy.models)}; whoever allows it writes {name}, or {name}@{version}, under models in "
        "policy.yaml",
    )


def _list_model_reasons(terms: Terms, policy: Policy) -> Iterator[RefusedError]:
    try:
        if not allows_model(policy.models, terms.model.name):
            yield _refuse_model(terms.model.name, policy)
        check_options(terms.model.name, terms.model.options)
        check_fit(terms.model, terms.data, terms.task)
    except ModelError as error:
        yield RefusedError(RefusalCode.POLICY, str(error))
