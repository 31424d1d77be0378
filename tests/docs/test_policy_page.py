"""``docs/policy.md`` is what the program says of its policy, and its examples are read by the program."""

import yaml

from client.site.config import SiteConfig
from client.site.hooks import EventKind, HookEvent
from client.site.policy import Policy
from privacy.document import parse
from privacy.errors import SiteConfigError
from privacy.keys import PublicKey
from privacy.signed import Signed
from tests.docs.pages import blocks, rows
from tests.docs.policy_page import PAGE, page


def test_page_is_what_the_program_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m tests.docs.policy_page"


def test_every_key_and_every_event_has_its_row() -> None:
    assert [row[0].strip("`") for row in rows(PAGE, "Every key")] == list(Policy.model_fields)
    assert [row[0].strip("`") for row in rows(PAGE, "Hooks")] == list(EventKind)


def test_examples_are_read() -> None:
    policy, hooks = (yaml.safe_load(each) for each in blocks(PAGE, "yaml"))
    assert parse(policy, Policy, SiteConfigError, "policy.yaml").automatic[0].operators == ("ada",)
    assert parse({"name": "ash", **hooks}, SiteConfig, SiteConfigError, "site.yaml").hooks.find(EventKind.INCIDENT)
    (event,) = blocks(PAGE, "json")
    signed = Signed[HookEvent].model_validate_json(event)
    signed.verify(PublicKey.from_text(signed.statement.key))
