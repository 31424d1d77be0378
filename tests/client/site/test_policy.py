"""``policy.yaml``: strict unless it says otherwise, and no mistake in it opens it further."""

from datetime import time
from pathlib import Path

import pytest
import yaml

from client.site.config import SiteConfig
from client.site.folder import SiteFolder
from client.site.policy import AutomaticRule, Policy
from client.site.policy_file import MEANINGS, format_policy, migrate_policy, read_policy
from privacy.document import parse
from privacy.errors import SiteConfigError
from tests.privacy.launch_makers import OPERATOR_KEY, key_number

ADA = OPERATOR_KEY.public.typed


def policy_of(text: str, tmp_path: Path) -> Policy:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return read_policy(path)


def test_policy_that_says_nothing_admits_nothing_without_a_person(tmp_path: Path) -> None:
    policy = policy_of("{}", tmp_path)
    assert (policy.automatic, policy.persons) == ((), 1)
    assert not policy.open_sealing
    assert not policy.unprotected_test_patients
    assert policy.without_privacy == ()


def test_file_explains_every_key_and_reads_back_as_the_same_policy(tmp_path: Path) -> None:
    assert list(MEANINGS) == list(Policy.model_fields)
    policy = Policy(
        operators={"ada": ADA},
        hours=("20:00-06:00",),
        automatic=(AutomaticRule(name="small", epsilon_at_most=1, operators=("ada",)),),
    )
    text = format_policy(policy)
    assert all(len(line) <= 120 for line in text.splitlines())
    assert text.count("\n\n# ") == len(MEANINGS)
    assert policy_of(text, tmp_path) == policy


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("automatc: []", "automatc: unknown key; did you mean 'automatic'?"),
        ("automatic:", "automatic: expected a list"),
        ("automatic: all", "automatic: expected a list"),
        ("automatic: [{name: all}]", "automatic.0.epsilon_at_most: missing"),
        ("automatic: [{name: a, epsilon_at_most: 1, operator: [ada]}]", "did you mean 'operators'?"),
        ("automatic: [{name: a, epsilon_at_most: 1, studies: []}]", "studies: expected at least 1 entries"),
        ("automatic: [{name: a, epsilon_at_most: 1, studies: lungs}]", "studies: expected a list"),
        ("automatic: [{name: a, epsilon_at_most: yes}]", "epsilon_at_most expects a number"),
        ("automatic: [{name: a, epsilon_at_most: 1, operators: [ada]}]", "names ada, whose key is not under"),
        (
            "automatic: [{name: a, epsilon_at_most: 1}, {name: a, epsilon_at_most: 2}]",
            "two rules have the same name",
        ),
        ("persons: 0", "persons: expected at least 1"),
        ("persons: 1\npersons: 2", "written twice"),
        ("operators: {ada: k1abc}", "operators.ada: "),
        (f"operators: {{ada: {ADA}, bob: {ADA}}}", "two of them have the same key"),
        ("hours: ['8-18']", "hours.0: expected hours such as '20:00-06:00'"),
        ("hours: [20:00-25:00]", "hours.0: expected hours such as"),
        ("hours: ['20:00-20:00']", "hours.0: '20:00-20:00' begins and ends at one time; leave hours out for"),
        ("epsilon_per_operator: 3", "epsilon_per_operator: it bounds nobody while 'operators' is empty"),
        ("devices: [gpu]", "devices.0: expected"),
        ("release: auto", "release: expected"),
        ("units: [patients]", "units.0: expected"),
        ("epsilon_per_year: 0", "epsilon_per_year: expected more than 0"),
        ("approval: automatic", "approval: unknown key"),
        ('contact: "a\\nb"', "contact: expected a line"),
    ],
)
def test_mistake_that_could_open_the_policy_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SiteConfigError) as caught:
        policy_of(text, tmp_path)
    assert sentence in str(caught.value)


def test_missing_policy_admits_nothing(tmp_path: Path) -> None:
    with pytest.raises(
        SiteConfigError, match=r"missing; restore it, or, where site\.yaml still holds the policy, run: "
    ):
        read_policy(tmp_path / "policy.yaml")


@pytest.mark.parametrize(
    ("hours", "now", "allowed"),
    [
        ((), "12:00", True),
        (("20:00-06:00",), "20:00", True),
        (("20:00-06:00",), "05:59", True),
        (("20:00-06:00",), "06:00", False),
        (("20:00-06:00",), "19:59", False),
        (("08:00-12:00", "13:00-17:00"), "12:30", False),
        (("08:00-12:00", "13:00-17:00"), "13:00", True),
    ],
)
def test_hours_run_from_the_first_to_before_the_last(hours: tuple[str, ...], now: str, allowed: bool) -> None:
    assert Policy(hours=hours).allows_hour(time.fromisoformat(now)) is allowed


def test_operator_is_found_by_the_key_and_not_by_the_name() -> None:
    policy = Policy(operators={"ada": ADA})
    assert policy.find_operator(OPERATOR_KEY.public) == "ada"
    assert policy.find_operator(key_number(9).public) is None


# moving an old policy ----------------------------------------------------------------------------------------

OLD = """\
# Who this site is, and what it allows.
name: ash
device: cpu
policy:
  models: [mlp]
  epsilon_per_study: 2.0
  approval: automatic
"""


@pytest.fixture
def home(tmp_path: Path) -> SiteFolder:
    """A site as an older version made it."""
    home = SiteFolder.create(tmp_path / "ash", "ash")
    (home.folder / "policy.yaml").unlink()
    (home.folder / "site.yaml").write_text(OLD)
    return home


def test_site_with_an_old_policy_says_which_command_moves_it(home: SiteFolder) -> None:
    with pytest.raises(SiteConfigError, match="move it with: consilium-site policy migrate"):
        home.config  # noqa: B018 - it is read here


def test_moved_policy_keeps_its_bounds_and_admits_nothing_without_a_person(home: SiteFolder) -> None:
    migrate_policy(home.folder / "site.yaml")
    assert home.policy == Policy(models=("mlp",), epsilon_per_study=2.0)
    assert home.config.name == "ash"
    assert (home.folder / "site.yaml").read_text().startswith("# Who this site is")
    with pytest.raises(SiteConfigError, match="holds no policy; nothing was changed"):
        migrate_policy(home.folder / "site.yaml")


def test_old_policy_is_not_moved_over_a_new_one(home: SiteFolder) -> None:
    (home.folder / "policy.yaml").write_text("persons: 2\n")
    with pytest.raises(SiteConfigError, match="exists already; look at both"):
        migrate_policy(home.folder / "site.yaml")
    assert home.policy.persons == 2


def test_old_policy_with_a_mistake_is_not_moved(home: SiteFolder) -> None:
    (home.folder / "site.yaml").write_text(OLD.replace("epsilon_per_study", "epsilon_per_stdy"))
    with pytest.raises(SiteConfigError, match="did you mean 'epsilon_per_study'"):
        migrate_policy(home.folder / "site.yaml")
    assert not (home.folder / "policy.yaml").exists()
    assert "policy" in yaml.safe_load((home.folder / "site.yaml").read_text())


def test_configuration_takes_no_policy() -> None:
    with pytest.raises(SiteConfigError, match="a file of its own"):
        parse({"name": "ash", "policy": {}}, SiteConfig, SiteConfigError, "site.yaml")
