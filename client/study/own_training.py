"""Refuse a training that people of this site begin by themselves, for every reason for which a launch would be refused.

An audit on the site's own patients and a training alone are no launches: nobody else orders them, and they do not wait.
All that holds for a launch holds for them: the policy and its quotas, a restored site that nobody has confirmed, a
ledger that is behind the head which the coordinator has countersigned. Where the policy asks for two people there is
none of them: the second one decides about a launch that waits.
"""

from client.admission.quotas import list_earlier_studies
from client.admission.rules import list_refusal_reasons
from client.site.folder import SiteFolder
from privacy.errors import RefusedError, SiteConfigError
from privacy.ledger import Ledger
from privacy.refusal_codes import RefusalCode
from privacy.study import Terms


def require_allowed(home: SiteFolder, ledger: Ledger, terms: Terms, what: str, instead: str) -> None:
    """Refuse for every reason for which a launch of ``terms`` would be refused here.

    Run by a site.

    Args:
        home: the site.
        ledger: its ledger.
        terms: the study.
        what: is to be done, for the sentence: "an audit".
        instead: what people can do where two of them must agree.

    Raises:
        SiteConfigError: the restored site was not confirmed.
        RefusedError: a launch would be refused; or ``approval``: two people must agree.
    """
    if (unconfirmed := home.describe_unconfirmed()) is not None:
        raise SiteConfigError(unconfirmed)
    state, registration = ledger.read_state(), home.load_registry().find_nearest(terms.data)
    witnessed = home.load_witnessed()
    if witnessed is not None and not state.contains(witnessed.head.statement.number, witnessed.head.statement.hash):
        raise RefusedError(
            RefusalCode.REFUSED,
            f"entry {witnessed.head.statement.number}, which the coordinator has countersigned, is not in this ledger; "
            "restore the newest backup, then run: consilium-site ledger recover",
        )
    against = list_refusal_reasons(
        terms,
        policy=home.policy,
        registration=registration,
        account=None if registration is None else state.find_account(registration.population).budget,
        weights=home.open_public_weights().list_held(),
        device=home.config.device,
        earlier=list_earlier_studies(state),
    )
    for reason in against:
        raise reason
    if home.policy.persons > 1:
        raise RefusedError(
            RefusalCode.APPROVAL,
            f"policy.yaml asks for {home.policy.persons} people (persons), who decide about a launch that waits; "
            f"{what} does not wait. {instead}",
        )
