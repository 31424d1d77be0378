"""Say what privacy did to a model: its promise, the noise that it was trained with, and what that costs in accuracy."""

from client.study.card_document import ModelCard
from privacy.audit.report.formatting import render_facts
from privacy.audit.report.html import Content, Markup, join_content, render_element
from privacy.study import Placement

_MEANING = (
    "Every patient’s part in the training was limited and hidden in random noise, so that the model is nearly the same "
    "whether a patient was in it or not. The smaller epsilon is, the less the model can tell of anybody."
)
_ADDED = {
    Placement.LOCAL: "added by each site",
    Placement.DISTRIBUTED: "added by the sites together",
    Placement.CORRELATED: "added by each site, and partly taken back by later steps",
}
_COST = (
    "The noise makes the model a little worse than one that was trained on the same patients without a promise, and "
    "more so for groups with few patients, of whom less can be learned."
)


def render_privacy(card: ModelCard | None) -> Markup:
    """Render the section; without a card it says where to find one."""
    heading = render_element("h2", "What privacy did to it")
    if card is None:
        return join_content(
            heading,
            render_element("p", "The release has no card.json, so that nothing is known here about its promise."),
        )
    privacy = card.privacy
    if not privacy.private:
        return join_content(
            heading,
            render_element(
                "p",
                "Nothing: the model was trained without a promise to patients, and may reveal them. Treat its file as "
                "patients’ data.",
                class_="alarm",
            ),
            render_facts(*_list_rounds(card)),
        )
    promise = f"epsilon {privacy.epsilon:g}, delta {privacy.delta:g}, for each {privacy.unit}"
    return join_content(
        heading,
        [render_element("p", each) for each in (_MEANING, _COST)],
        render_facts(
            ("Promise to training patients", promise),
            ("Noise", _describe_noise(card)),
            ("Test patients", _describe_test_patients(card)),
            ("Filters", _describe_filters(card)),
            ("Sums of sites", _describe_sums(card)),
            *_list_rounds(card),
        ),
    )


def _describe_noise(card: ModelCard) -> str | None:
    privacy = card.privacy
    if privacy.noise_multiplier is None or privacy.clipping_norm is None:
        return None
    norm = privacy.last_clipping_norm or privacy.clipping_norm
    return (
        f"{privacy.noise_multiplier:.3g} times the most that one patient may move a step (clipping norm {norm:g}), "
        f"{_ADDED[privacy.placement]}"
    )


def _describe_test_patients(card: ModelCard) -> Content:
    if card.privacy.evaluation_epsilon:
        return f"epsilon {card.privacy.evaluation_epsilon:g}: the figures of all sites have noise"
    if card.privacy.test_patients_protected:
        return "not used by the study"
    return render_element("span", "no promise: their totals were opened without noise", class_="caution")


def _describe_filters(card: ModelCard) -> Markup | None:
    """Describe a training alone; None for all others."""
    alone = card.alone
    if alone is None:
        return None
    return render_element(
        "span",
        f"{alone.kind}: every patient pays for {alone.paid_steps:,} of {alone.steps:,} steps. Whoever had spent theirs "
        "was left out, most likely those whom the model gets wrong; nobody knows who, or how many",
        class_="caution",
    )


def _describe_sums(card: ModelCard) -> Content:
    if card.alone is not None:
        return "none: one site trained alone"
    if card.privacy.updates_sealed:
        return "sealed: nobody saw a single site’s"
    return render_element("span", "not sealed: the coordinator could read every site’s", class_="alarm")


def _list_rounds(card: ModelCard) -> tuple[tuple[str, str], ...]:
    seen = card.launches.seen
    return (
        ("Rounds", f"{card.rounds.applied} of {card.rounds.planned} planned"),
        (
            "Launches",
            f"one of {seen} that this site has seen" if seen > 1 else "the only one that this site has seen",
        ),
    )
