"""The figures of ``docs/privacy.md`` are those of the accountant and of the site that computes them."""

from client.admission import study_noise, training_event
from client.data import PUBLIC_COUNT_STEP
from client.home import Policy
from privacy.accountant import NANO, ORDERS, charge, conversion, limit
from privacy.budget import Planned, Purpose, choose_order
from privacy.study import Sealing, read_terms
from tests.docs.pages import ROOT

TEXT = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")


def test_example_of_a_charge_is_computed() -> None:
    terms = read_terms(ROOT / "examples" / "breast_cancer.yaml")
    delta = 0.001
    assert (terms.privacy.epsilon, terms.privacy.delta) == (3, delta)
    alone = study_noise(terms)
    event = training_event(terms, alone)
    order = choose_order(6, delta, (Planned(purpose=Purpose.TRAIN, event=event, times=terms.training.rounds),))
    assert event.kind == "sampled-gaussian"
    price = terms.training.rounds * charge(event, order) / NANO
    room = limit(6, delta, order) / NANO
    assert f"noise of {alone:.2f}" in TEXT
    assert f"kept at order {order}, where the study charges {price:.2f} of the {room:.2f}" in TEXT
    assert room // price == 3
    assert f"a fixed part ({float(conversion(delta, order)):.2f}" in TEXT


def test_constants_of_the_page_are_those_of_the_code() -> None:
    assert f"orders {ORDERS[0]} to\n  {ORDERS[-1]}" in TEXT
    assert PUBLIC_COUNT_STEP == 10
    assert "rounded down to tens" in TEXT
    assert f"`minimum_patients` (site.yaml; {Policy().minimum_patients} unless changed)" in TEXT
    assert f"{Sealing(value_range=1).bits}-bit grid** by default" in TEXT
