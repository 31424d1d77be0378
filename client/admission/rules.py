"""Decide whether this site admits a study: every rule of the site in one place, without I/O.

A study is admitted when all of these rules hold. The first one that does not hold is the refusal's code.

=================  ====================================================================================
code               the rule
=================  ====================================================================================
federation         the launch is for the federation this site joined, signed by the pinned coordinator
roster             this site is on the roster with its own key, every other member is a peer with the key that people
                   here have pinned, or that the consortium they trust vouches for today
order              an operator has ordered exactly this launch, and this is the first launch of the order
                   (``privacy/ledger/decisions.py``)
program            the launch is for the program that this site runs: version and code
policy             the site's data protection officer allows the operator, the model, the unit and the placement, the
                   epsilon of training and evaluation together (a study's, an operator's, a year's), the number of
                   sites and of conspiring ones, the device, the bytes of a round, and, where the study asks for it,
                   no privacy or unprotected test patients
weights            the public weights that the terms begin with are at this site, and fit the model
data               data are registered under exactly the study's contract, with enough patients, as the ledger
                   knows them; a contract that only has the same name is another one
delta              delta is at most one in the patients (a larger one would allow publishing one patient's record)
budget             the whole study, priced as the ledger will charge it, fits into what is left
noise              distributed noise: the range holds the noise and this site's own patients, and one site's
                   share is at least three grid units (the others' patients: ``client/study/room_check.py``); a
                   share of statistics fits the 32 bits of a total
=================  ====================================================================================

Whether people must agree as well is decided after these rules (``client/admission/decisions.py``): a study waits for
a person only if nothing else is against it.

The noise is calibrated so that the study alone costs its epsilon (``privacy/study/cost.py``). What it costs the
population is decided by the ledger, at the order of the grant. The whole study is priced by that rule at admission,
so that it is not refused in its ninth round of ten.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from client.admission.policy_bounds import list_policy_reasons, list_statistics_reasons
from client.admission.quotas import EarlierStudy, list_quota_reasons
from client.site.policy import Policy
from client.site.registry import Registration
from privacy.accounting.account import compute_most_patients
from privacy.accounting.events import AnyEvent
from privacy.accounting.figures import Budget
from privacy.accounting.plan import Planned, Purpose
from privacy.errors import BudgetError, RefusedError, WireError
from privacy.keys import PublicKey
from privacy.program import Program, read_program
from privacy.protocol.enrolment import Admission
from privacy.refusal_codes import RefusalCode
from privacy.study import DataContract, Placement, SchemeName, Terms
from privacy.study.cost import (
    compute_evaluation_noise,
    compute_study_noise,
    make_evaluation_event,
    make_training_event,
)
from privacy.study.fixed_lots import describe_excess
from privacy.study.launch import Launch, SignedLaunch, verify_order
from privacy.study.tasks.task import compute_squared_scales


@dataclass(frozen=True)
class Price:
    """What the study costs a population, and the noise multipliers behind this price (None: no noise)."""

    plan: tuple[Planned, ...]
    noise_multiplier: float | None
    evaluation_noise_multiplier: float | None


def admit(
    signed: SignedLaunch,
    *,
    site: str,
    identity: PublicKey,
    admission: Admission,
    pinned: Mapping[str, PublicKey],
    policy: Policy,
    registration: Registration | None,
    account: Budget | None,
    weights: Collection[str] = (),
    doubts: Mapping[str, str] | None = None,
    device: str = "auto",
    earlier: Sequence[EarlierStudy] = (),
    now: datetime | None = None,
    program: Program | None = None,
) -> Price:
    """Check a launch against every rule of this site, and return the price of the study.

    Run by a site.

    Args:
        signed: the launch.
        site: this site's name.
        identity: its key.
        admission: the coordinator's admission of this site.
        pinned: its peers' keys: pinned by its people, or vouched for by a consortium that they trust.
        policy: its rules.
        registration: its files for the study's contract, or for another one of the same name.
        account: the budget of the population to which these files belong, if the ledger knows the files.
        weights: SHA-256 of the public weights that this site has.
        doubts: by name, why a peer is not believed although people or the consortium have named it.
        device: what ``site.yaml`` lets training run on.
        earlier: studies that were admitted here, for the quotas.
        now: UTC, for the quotas; the machine's clock if it is not given.
        program: what this site runs; what is installed if it is not given.

    Raises:
        RefusedError: the first rule that does not hold.
    """
    launch = _verify_launch(signed, admission)
    _require_trusted_roster(launch, site, identity, pinned, doubts or {})
    operator = _require_ordered(launch, policy)
    _require_program(launch, program)
    against = list_refusal_reasons(
        launch.terms,
        policy=policy,
        registration=registration,
        account=account,
        weights=weights,
        operator=operator,
        device=device,
        earlier=earlier,
        now=now,
    )
    for reason in against:
        raise reason
    price = compute_price(launch.terms)
    _require_small_rounds(launch, policy)
    _require_usable_shares(launch, price, 0 if registration is None else registration.public_patients)
    return price


def _require_usable_shares(launch: Launch, price: Price, patients: int) -> None:
    """Check noise: what is kept must be little, a sum's range must hold what is known already, a share must be noise.

    The patient counts of other sites come with the key epoch, and are judged before the first round is paid
    (``client/study/room_check.py``).
    """
    terms = launch.terms
    if (excess := describe_excess(terms, launch.parameters)) is not None:
        raise RefusedError(RefusalCode.NOISE, excess)
    if terms.counts_only:
        _require_whole_shares(terms, price.evaluation_noise_multiplier, patients)
    if terms.privacy.placement is not Placement.DISTRIBUTED or price.noise_multiplier is None:
        return
    # imported late: it loads tenseal, without which a command that only shows a budget starts in half the time
    from privacy.secure_aggregation.round_layout import make_shared_noise

    alone = make_shared_noise(terms, launch.parameters, price.noise_multiplier)
    own = make_shared_noise(
        terms, launch.parameters, price.noise_multiplier, room=patients if terms.sums_patients else 0
    )
    if (problem := alone.describe_problem(len(launch.roster))) is not None:
        raise RefusedError(RefusalCode.NOISE, problem)
    if (problem := own.describe_problem(len(launch.roster))) is not None:
        raise RefusedError(RefusalCode.NOISE, f"for this site's patients alone, others come on top: {problem}")


def _require_whole_shares(terms: Terms, noise: float | None, patients: int) -> None:
    """Check that a share of statistics is sealed whole, for the ``patients`` that train and as many that only test."""
    from privacy.mechanisms.shared_totals import (  # numpy, which most commands do without
        compute_most_counted_patients,
        compute_share_variances,
    )

    assert noise is not None, "statistics always have noise, which the terms check"
    fewest = terms.cohort.minimum - terms.cohort.colluders  # their shares are the largest
    variances = compute_share_variances(compute_squared_scales(terms.cell_groups), noise, fewest)
    most = compute_most_counted_patients(variances)
    if patients > most:
        raise RefusedError(
            RefusalCode.NOISE,
            f"counts of {patients} patients, with noise, may not fit the 32 bits of a total: at most {max(0, most)} "
            "do; a count that is cut hides less than promised; people here may register fewer patients for studies "
            "that count",
        )


def list_refusal_reasons(
    terms: Terms,
    *,
    policy: Policy,
    registration: Registration | None,
    account: Budget | None,
    weights: Collection[str] = (),
    operator: PublicKey | None = None,
    device: str = "auto",
    earlier: Sequence[EarlierStudy] = (),
    now: datetime | None = None,
) -> Iterator[RefusedError]:
    """List every reason for which this site refuses ``terms``, in the table's order.

    Run by a site. It does not matter who launches the study. Whether the price fits into what is left is decided by
    the ledger.
    """
    yield from list_policy_reasons(terms, policy, None if registration is None else registration.population)
    yield from list_statistics_reasons(terms, policy, operator)
    yield from _list_device_reasons(policy, device)
    yield from list_quota_reasons(terms, operator, policy, earlier, now or datetime.now(UTC))
    yield from _list_weights_reasons(terms, weights)
    yield from _list_data_reasons(terms, policy, registration)
    if registration is not None:
        yield from _list_account_reasons(terms, registration.population, account)


def list_reasons_before_registration(
    terms: Terms, policy: Policy, registration: Registration
) -> Iterator[RefusedError]:
    """List why this site would refuse ``terms`` with these files, before they are registered.

    Run by a site.
    """
    yield from list_policy_reasons(terms, policy, registration.population)
    yield from _list_data_reasons(terms, policy, registration)


def compute_price(terms: Terms) -> Price:
    """Compute what ``terms`` cost any population, and the noise that gives this price.

    Raises:
        BudgetError: no noise reaches the study's epsilon.
    """
    trains_private = terms.privacy.epsilon is not None and not terms.counts_only
    noise = compute_study_noise(terms) if trains_private else None
    noise_of_totals = compute_evaluation_noise(terms)
    return Price(tuple(_make_plan(terms, noise, noise_of_totals)), noise, noise_of_totals)


def _verify_launch(signed: SignedLaunch, admission: Admission) -> Launch:
    try:
        launch = signed.verify(PublicKey.from_text(admission.coordinator))
    except WireError:
        raise RefusedError(
            RefusalCode.FEDERATION, "the launch is not signed by the coordinator this site joined"
        ) from None
    if launch.federation != admission.federation:
        raise RefusedError(
            RefusalCode.FEDERATION,
            f"the launch is for '{launch.federation}', this site joined '{admission.federation}'",
        )
    return launch


def _require_ordered(launch: Launch, policy: Policy) -> PublicKey:
    """Check who ordered the launch, and return their key."""
    try:
        order = verify_order(launch)
    except WireError as error:
        raise RefusedError(RefusalCode.ORDER, str(error)) from None
    operator = PublicKey.from_text(order.key)
    if policy.operators and policy.find_operator(operator) is None:
        raise RefusedError(
            RefusalCode.POLICY,
            f"'{order.operator}' launched it with the key {operator.typed}, which is not under 'operators' of this "
            "site's policy; compare the key with them, then add it",
        )
    return operator


def _require_program(launch: Launch, program: Program | None) -> None:
    """Check that the launch is for the program that this site runs."""
    own, asked = program or read_program(), launch.program
    if own.version != asked.version:
        raise RefusedError(
            RefusalCode.PROGRAM,
            f"the study is for version {asked.version}, this site runs {own.version}; install {asked.version} here, or "
            "have the study launched by a coordinator of this version",
        )
    if own != asked:
        raise RefusedError(
            RefusalCode.PROGRAM,
            f"the study is for {asked.short}, this site runs {own.short}: the same version with other code; install it "
            "anew at the one that was changed",
        )


def _require_small_rounds(launch: Launch, policy: Policy) -> None:
    """Check the bytes and parts of a round, which public numbers alone decide."""
    unlimited = launch.terms.secure_aggregation.scheme in (SchemeName.BFV, SchemeName.OPEN)
    if policy.megabytes_per_round is None and unlimited:
        return
    # imported late: it loads tenseal, without which a command that only shows a budget starts in half the time
    from privacy.secure_aggregation.round_layout import find_largest_layout, layout_of

    excess = find_largest_layout(launch).excess
    if excess:
        raise RefusedError(RefusalCode.POLICY, excess)
    size = layout_of(launch, 1, 0).sealed_bytes / 1e6
    if policy.megabytes_per_round is not None and size > policy.megabytes_per_round:
        raise RefusedError(
            RefusalCode.POLICY,
            f"a round's sealed update has {size:.1f} MB, this site allows {policy.megabytes_per_round:g}",
        )


def _require_trusted_roster(
    launch: Launch, site: str, identity: PublicKey, pinned: Mapping[str, PublicKey], doubts: Mapping[str, str]
) -> None:
    keys = {member.name: member.identity for member in launch.roster}
    if keys.get(site) != identity.text:
        raise RefusedError(RefusalCode.ROSTER, "this site is not on the roster with its own key")
    for name, key in keys.items():
        if name == site:
            continue
        if name in doubts:
            raise RefusedError(RefusalCode.ROSTER, doubts[name])
        if name not in pinned:
            raise RefusedError(
                RefusalCode.ROSTER,
                f"'{name}' is not a pinned peer; compare its key with its people, "
                f"then run: consilium-site peer trust {name} KEY",
            )
        if pinned[name].text != key:
            raise RefusedError(
                RefusalCode.ROSTER,
                f"the roster gives '{name}' another key than the one this site has pinned, or its consortium names: "
                f"{PublicKey.from_text(key).typed}, here it is {pinned[name].typed}",
            )


def _list_device_reasons(policy: Policy, device: str) -> Iterator[RefusedError]:
    wanted = {"auto": ("cpu", "cuda")}.get(device, (device,))
    if not set(wanted) <= set(policy.devices):
        yield RefusedError(
            RefusalCode.POLICY,
            f"this site may train on {' or '.join(policy.devices)} only, and site.yaml says device: {device}; its "
            "engineers set another device there",
        )


def _list_weights_reasons(terms: Terms, weights: Collection[str]) -> Iterator[RefusedError]:
    start = terms.model.start
    if start is not None and start not in weights:
        yield RefusedError(
            RefusalCode.WEIGHTS,
            f"the study begins with public weights of SHA-256 {start}, which are not here; get the file from its "
            "publisher, then run: consilium-site weights add FILE",
        )


def _list_data_reasons(terms: Terms, policy: Policy, registration: Registration | None) -> Iterator[RefusedError]:
    if registration is None:
        yield RefusedError(
            RefusalCode.DATA,
            f"no data are registered under the study's contract '{terms.data.name}' ({terms.data.digest[:16]}); "
            "look at its columns, then run: consilium-site data add STUDY.yaml ...",
        )
        return
    if registration.contract.digest != terms.data.digest:
        yield RefusedError(RefusalCode.DATA, _describe_other_contract(registration.contract, terms.data))
        return
    patients, most = registration.public_patients, compute_most_patients(registration.public_patients)
    if patients < policy.minimum_patients:
        yield RefusedError(
            RefusalCode.DATA,
            f"about {patients} patients are registered, this site asks for {policy.minimum_patients}",
        )
    delta = terms.privacy.delta
    if delta is not None and delta * most > 1:
        yield RefusedError(
            RefusalCode.DELTA,
            f"delta {delta:g} is more than one in {most} patients; ask for at most {1 / most:.2g}",
        )


def _describe_other_contract(registered: DataContract, asked: DataContract) -> str:
    """Describe in which parts the study's contract differs from the one that people registered under its name."""
    parts = [name for name, value in registered if getattr(asked, name) != value]
    return (
        f"the data registered as '{asked.name}' keep another contract than the study's: {', '.join(parts)} differ; "
        "look at the study's columns, then register files for it: consilium-site data add STUDY.yaml ..."
    )


def _list_account_reasons(terms: Terms, population: str, account: Budget | None) -> Iterator[RefusedError]:
    if account is None:
        yield RefusedError(
            RefusalCode.DATA,
            f"the files registered as '{terms.data.name}' are not what the ledger knows of the population "
            f"'{population}': register them again",
        )
        return
    if terms.privacy.epsilon is None:
        return
    if not account.grants:
        yield RefusedError(
            RefusalCode.BUDGET,
            f"no budget is granted for '{population}'; run: consilium-site budget grant {population} ...",
        )
    try:
        compute_price(terms)
    except BudgetError as error:
        yield RefusedError(RefusalCode.BUDGET, str(error))


def _make_plan(terms: Terms, noise: float | None, noise_of_totals: float | None) -> list[Planned]:
    plan = list[Planned]()
    if terms.training.rounds:
        event: AnyEvent = make_training_event(terms, noise)
        plan.append(Planned(purpose=Purpose.TRAIN, event=event, times=terms.training.rounds))
    if terms.evaluation.rounds:
        event = make_evaluation_event(terms, noise_of_totals)
        plan.append(Planned(purpose=Purpose.EVALUATE, event=event, times=len(terms.evaluation.rounds)))
    return plan
