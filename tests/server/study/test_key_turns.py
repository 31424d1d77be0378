"""Which earlier keys go with a new key epoch, where not all of them do."""

from privacy.protocol.key_messages import MAX_EARLIER
from server.study.key_epochs import _choose_earlier_epochs


def test_everything_that_is_lacked_and_held_goes_where_it_fits() -> None:
    assert _choose_earlier_epochs([{1, 2}, set(), {2, 5}], {1, 2, 3, 5}) == [1, 2, 5]
    assert _choose_earlier_epochs([{1, 2}], set()) == []


def test_member_that_lacks_everything_takes_no_other_members_turn() -> None:
    """It may be a lie; who lacks one key gets it in the same epoch."""
    greedy, honest = set(range(1, 2 * MAX_EARLIER)), {3 * MAX_EARLIER}
    given = _choose_earlier_epochs([greedy, honest], greedy | honest)
    assert given == [*range(1, MAX_EARLIER), 3 * MAX_EARLIER]
