"""The documents of ``consilium study check``, printed as tables or with ``--json``."""

from typing import Literal

from pydantic import Field

from privacy.document import Shown
from privacy.fields import Count
from privacy.study import Matrix, Placement, Unit


class RunsCost(Shown):
    """The cost of several runs of the same terms together, in epsilon at the terms' delta."""

    runs: int
    training: float
    """For a training patient."""
    evaluation: float | None
    """For a test patient; null without noise, or without test patients."""


class SiteUnitCheck(Shown):
    """The figures of whole sites as the unit, for the largest cohort."""

    participation: float
    """Probability that a site's update counts in a round."""
    epsilon_of_site: float
    """For each site, all its patients together."""
    noise_of_mean: float
    """Standard deviation in one coordinate of the mean update, over the clipping norm."""
    noise_to_signal_of_round: float
    """Length of the noise over the greatest length of the mean update, in one round."""
    noise_to_signal: float
    """The same for the sum of all rounds."""


class SharedNoiseCheck(Shown):
    """The figures of distributed noise, of which each site of a cohort adds a share."""

    colluders: int
    epsilon_outside: float
    """Epsilon against an observer who takes no part in the study, with the largest cohort."""
    inflation: float
    """Noise with rounding over noise without rounding."""
    proposed_bits: int
    value_range: float
    """In clipping norms."""
    patients: int | None
    """Of all sites together, about; null if unknown."""
    patients_held: int | None
    """Patients whose lots the range holds; null if the range is ``auto``, or no patients are summed."""
    share_units: float
    """Standard deviation of one share's noise, in grid units."""
    needed_range: float
    problem: str | None
    sites: SiteUnitCheck | None


class CorrelationCheck(Shown):
    """The figures of correlated noise, beside those of lots that are drawn in secret at the same rate."""

    matrix: Matrix
    lots: int
    """Of a pass."""
    passes: int
    """Of the whole study: how often a patient is used."""
    bands: int
    """Over how many steps noise is correlated; 1 with a tree for each pass."""
    exact_epsilon: float
    """Of the whole study as the one Gaussian release that it is."""
    noise_left: float
    """Standard deviation of the noise in the sum of all steps, in clipping norms."""
    drawn_multiplier: float
    """Noise multiplier of the same study with lots drawn in secret (placement ``local``)."""
    drawn_noise_left: float
    """What it leaves in the sum of all steps, in clipping norms."""
    kept_bytes: Count
    """What a site keeps of the noise between two rounds."""


class PrivacyCheck(Shown):
    """The promise of a study with differential privacy, and its cost."""

    private: Literal[True] = True
    placement: Placement
    shares: SharedNoiseCheck | None
    """Null unless sites add noise together."""
    correlation: CorrelationCheck | None
    """Null unless noise is correlated."""
    epsilon: float
    delta: float
    unit: Unit
    steps: int
    """Steps of the mechanism over all rounds."""
    noise_multiplier: float
    orders_end_too_early: bool
    """Whether a larger Renyi order than the known ones would need less noise."""
    epsilon_after_first_round: float
    smallest_population: int
    """One over delta: the greatest number of patients that a site may have."""
    runs: RunsCost | None
    test_patients_protected: bool
    epsilon_in_all: float
    """Training and evaluation together: what a site's policy must allow (``epsilon_per_study``)."""


class NoPrivacyCheck(Shown):
    """A study without differential privacy."""

    private: Literal[False] = False


class StageCheck(Shown):
    """A stage of training."""

    name: str
    objective: str
    rounds: int
    learning_rate: float
    parameters: int
    """Number of shared parameters that the stage trains."""


class StudyCheck(Shown):
    """What a study would cost and transfer, from public numbers."""

    study: str
    terms_sha256: str = Field(serialization_alias="digest")
    parameters: int
    """Number of parameters that are trained and shared."""
    personal: int
    frozen: int
    start: str | None
    """SHA-256 of the public weights."""
    model: str
    version: int | None
    """Of the model, in this program; null where nothing is trained."""
    inputs: dict[str, str]
    """Type and shape of every input of the model."""
    task: str
    outputs: tuple[int, ...]
    """Shape of what the model gives for each record; empty for one number."""
    cells: int
    """Cells of the totals; 0 without evaluations."""
    stages: tuple[StageCheck, ...]
    rounds: int
    exchanges: int
    """Rounds, and the closing evaluation if there is one."""
    bytes_up: Count
    """What a site sends in the largest exchange."""
    bytes_down: Count
    float32_bytes: Count
    ciphertexts: int
    values_per_slot: int
    sealed: bool
    value_range: float | Literal["auto"]
    first_range: float | None
    """Range of a site's update in the first round; null with distributed noise."""
    privacy: PrivacyCheck | NoPrivacyCheck
    most_site_patients: int | None
    """Training patients with which a site still admits a study of statistics; null for others."""
    problems: tuple[str, ...]
    """Why the study cannot work; only certain reasons."""

    @property
    def shares(self) -> SharedNoiseCheck | None:
        """The figures of distributed noise; None with local noise or without privacy."""
        return self.privacy.shares if isinstance(self.privacy, PrivacyCheck) else None
