"""Show what a data protection officer needs to decide about a study that waits."""

from client.commands.study_table import NEVER_AGAIN
from client.site.folder import SiteFolder
from client.study.waiting_studies import WaitingStudy
from models.catalogue import find_model
from privacy.command_line import print_table, style
from privacy.keys import PublicKey
from privacy.ledger import LedgerState
from privacy.ledger.entries import About, Choice, Decide
from privacy.ledger.ledger import read_utc_time
from privacy.study import SchemeName, Terms, Unit
from privacy.study.launch import Launch
from privacy.study.summary import describe_inputs, describe_prediction


def print_decision_table(home: SiteFolder, state: LedgerState, waiting: WaitingStudy) -> None:
    """Print purpose, operator, columns, sites, who gets the model, and what is not protected, on stdout."""
    launch = waiting.launch.statement
    rows = [
        ("study", f"{launch.study}, waits since {waiting.since}"),
        ("purpose", launch.terms.purpose),
        ("launched by", _describe_operator(home, launch)),
        *_list_input_rows(launch.terms, f", {launch.parameters:,} shared parameters"),
        *_head("sites", _describe_sites(home, launch)),
        *_list_output_rows(launch.terms),
        *_head("decided", describe_decisions(state, launch.study)),
    ]
    print_table(("", ""), rows)


def print_terms_table(terms: Terms) -> None:
    """Print on stdout what the table of a study that waits has, as far as the terms say it before a launch."""
    rows = [
        (
            "study",
            f"{terms.name}, which nobody has launched yet: any operator and any sites that the policy allows",
        ),
        ("purpose", terms.purpose),
        *_list_input_rows(terms),
        *_list_output_rows(terms),
    ]
    print_table(("", ""), rows)


def _list_input_rows(terms: Terms, size: str = "") -> list[tuple[str, str]]:
    inputs = _head("from", [f"{name}: {what}" for name, what in describe_inputs(terms).items()])
    predicts = ("predicts", describe_prediction(terms))
    if terms.counts_only:
        return [predicts, *inputs]
    name = terms.model.name
    return [predicts, ("trains", f"{name}, version {find_model(name).version}{size}"), *inputs]


def _list_output_rows(terms: Terms) -> list[tuple[str, str]]:
    return [_describe_result(terms), *_head("not protected", list_unprotected(terms))]


def _describe_result(terms: Terms) -> tuple[str, str]:
    if terms.counts_only:
        return "the figures go to", "the coordinator and the sites that take part, of all sites together"
    return "the model goes to", f"the {terms.release.to} that take part"


def list_unprotected(terms: Terms) -> list[str]:
    """List in plain sentences what a study does not protect."""
    found = list[str]()
    if terms.privacy.epsilon is None:
        found.append(style(NEVER_AGAIN, colour="red", bold=True))
    if terms.evaluation.rounds and terms.evaluation.epsilon is None:
        found.append("test patients: their totals leave without noise, exactly as they are")
    if terms.secure_aggregation.scheme is SchemeName.OPEN:
        found.append("this site's update: the coordinator can read each of them")
    elif terms.secure_aggregation.scheme is not SchemeName.BFV:
        found.append(f"nothing more than usual, but it is sealed by {terms.secure_aggregation.scheme}, not by bfv")
    if terms.privacy.epsilon is not None and terms.privacy.unit is Unit.RECORD:
        found.append(
            "several records of one patient together: the unit is a record (the ledger charges for a patient)"
        )
    found.append("that this site takes part, its number of patients (rounded), and what all sites' patients share")
    return found


def describe_decisions(state: LedgerState, study: str) -> list[str]:
    """Describe what people have decided about a launch so far."""
    said = [_describe_decision(each) for each in state.decisions.list_decisions(study, About.ADMISSION)]
    required = state.decisions.find_required(study)
    return [*said, f"{required.persons} must agree" if required else "nobody was asked yet"]


def _describe_decision(decision: Decide) -> str:
    what = "agreed" if decision.choice is Choice.APPROVE else "refused"
    return f"{decision.by} {what}{f': {decision.why}' if decision.why else ''}"


def _describe_operator(home: SiteFolder, launch: Launch) -> str:
    order = launch.order.statement
    key, operators = PublicKey.from_text(order.key), home.policy.operators
    known = home.policy.find_operator(key)
    if known is not None:
        return f"{known}, whose key is in this site's policy; ordered {order.time}"
    why = "not in this site's policy" if operators else "this site's policy names no operators"
    return f"'{order.operator}', as the coordinator calls them; ordered {order.time}; key {key.typed} ({why})"


def _describe_sites(home: SiteFolder, launch: Launch) -> list[str]:
    own = home.config.name
    believed = home.load_peers().find_believed(f"{read_utc_time():%Y-%m-%d}", own)
    lines = []
    for member in launch.roster:
        key = believed.keys.get(member.name)
        if member.name == own:
            word = "this site"
        elif member.name in believed.doubts:
            word = believed.doubts[member.name]
        else:
            word = (
                "its key is believed here"
                if key and key.text == member.identity
                else "its key is NOT believed here"
            )
        lines.append(f"{member.name}: {word}")
    return lines


def _head(title: str, lines: list[str]) -> list[tuple[str, str]]:
    return [(title if place == 0 else "", line) for place, line in enumerate(lines)]
