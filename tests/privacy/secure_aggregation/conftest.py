"""A cohort in memory: real keys, real masks, real ciphertexts."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy.secure_aggregation.aggregate import Aggregate
from privacy.secure_aggregation.layout import Layout
from privacy.secure_aggregation.opening import OpenedSum, open_aggregate
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.seal import seal

CONTEXT = b"study, launch, epoch 1, round 3, attempt 1, cohort, model, scale"


@pytest.fixture(scope="session")
def study_key() -> StudyKey:
    return StudyKey.generate()


@dataclass
class Federation:
    """Sites that share a study key and pairwise secrets; what a test needs to play coordinator."""

    layout: Layout
    sites: Sequence[str]
    study_key: StudyKey
    processes: int = 1
    seeds: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seeds = {site: hashlib.sha256(b"seed " + site.encode()).digest() for site in self.sites}

    def pair_secrets(self, site: str) -> Mapping[str, bytes]:
        return {
            peer: hashlib.sha256("+".join(sorted((site, peer))).encode()).digest()
            for peer in self.sites
            if peer != site
        }

    def update(self, site: str) -> NDArray[np.uint32]:
        generator = np.random.default_rng(self.sites.index(site))
        drawn = generator.integers(0, 1 << self.layout.bits, self.layout.parameters)
        return drawn.astype(np.uint32)

    def counts(self, site: str) -> list[int]:
        limit = 1 << (self.layout.count_bits - 1)
        generator = np.random.default_rng(1000 + self.sites.index(site))
        return [int(total) for total in generator.integers(-limit, limit, self.layout.counts)]

    def seal(self, site: str, cohort: Sequence[str] | None = None, context: bytes = CONTEXT) -> bytes:
        return b"".join(
            seal(
                self.layout,
                self.update(site),
                self.counts(site),
                site=site,
                cohort=cohort or self.sites,
                context=context,
                study_key=self.study_key,
                pair_secrets=self.pair_secrets(site),
                own_seed=self.seeds[site],
                processes=self.processes,
            )
        )

    def aggregate(self, sealed: Sequence[bytes], released: Sequence[str] | None = None) -> bytes:
        aggregate = Aggregate(self.layout)
        for blob in sealed:
            aggregate.add(blob)
        aggregate.subtract_masks({site: self.seeds[site] for site in released or self.sites}, CONTEXT)
        return aggregate.to_bytes()

    def honest(self) -> bytes:
        return self.aggregate([self.seal(site) for site in self.sites])

    def open(self, aggregate: bytes, cohort: Sequence[str] | None = None, context: bytes = CONTEXT) -> OpenedSum:
        return open_aggregate(
            self.layout,
            aggregate,
            cohort=cohort or self.sites,
            context=context,
            study_key=self.study_key,
            processes=self.processes,
        )

    def require_exact_sum(self) -> None:
        """What opens is what plain integers add up to."""
        opened = self.open(self.honest())
        updates = [self.update(site).astype(int).tolist() for site in self.sites]
        totals = [self.counts(site) for site in self.sites]
        assert opened.values.tolist() == [sum(column) for column in zip(*updates, strict=True)]
        assert opened.counts == tuple(sum(column) for column in zip(*totals, strict=True))


def named(count: int) -> list[str]:
    """The names of so many sites."""
    return [f"site-{number:02}" for number in range(count)]


@pytest.fixture
def federation(study_key: StudyKey) -> Federation:
    return Federation(Layout(1000, 5, 16, 8), ["north", "east", "south", "west"], study_key)
