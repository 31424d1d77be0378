"""A site seals one attempt of a round once: whatever it is asked in between, the same view is never sealed anew."""

from privacy.protocol.messages import Problem, Sealed
from tests.protocol.mallory import Mallory, require_refused
from tests.protocol.moments import THREE


def require_sealed(reply: object) -> Sealed:
    assert isinstance(reply, Sealed), reply
    return reply


def test_epoch_that_does_not_exist_does_not_make_the_site_forget_what_it_sealed(mallory: Mallory) -> None:
    """Otherwise a coordinator gets as many sealings of one view as it likes."""
    blobs, masks = set(), set()
    for _ in range(3):
        masks.add(require_sealed(mallory.train("ash")).header.statement.own_mask)
        blobs.add(mallory.blobs["ash", 1, 1])
        assert isinstance(mallory.train("ash", attempt=2, epoch=99, keys=mallory.keys[1]), Problem)
    assert (len(blobs), len(masks)) == (1, 1)
    for name in mallory.names[1:]:
        require_sealed(mallory.train(name))
    assert sorted(mallory.seeds()) == sorted(mallory.names)


def test_site_does_not_go_back_to_a_round_that_it_has_sealed(mallory: Mallory) -> None:
    require_sealed(mallory.train("ash", 1))
    require_sealed(mallory.train("ash", 2))
    require_refused(mallory.train("ash", 1), "stale", "this site has sealed attempt 1 of round 2")


def test_attempts_rise_and_one_is_not_sealed_for_two_cohorts(mallory: Mallory) -> None:
    require_sealed(mallory.train("ash"))
    assert isinstance(mallory.train("ash", attempt=2, epoch=99, keys=mallory.keys[1]), Problem)
    require_refused(mallory.train("ash", cohort=THREE), "refused", "an attempt has one cohort and one epoch")
    require_sealed(mallory.train("ash", attempt=3, cohort=THREE))
    require_refused(mallory.train("ash", attempt=2), "stale", "attempt 2 of round 1 is over")
