"""The codes that a record has at all, where a matrix over all codes would be too large for every record."""

import torch


def find_own_codes(visits: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the numbers of each record's codes, the lowest ones first, and which of them a visit has.

    A record with fewer codes has other codes in the rest, which no visit has.

    Args:
        visits: (records, visits, codes), 1 for a code that the visit has, else 0.
        most: how many codes of a record are kept; not more than there are codes.

    Returns:
        (records, most) numbers, and (records, visits, most).
    """
    any_visit = visits.amax(1)  # (records, codes)
    own = any_visit.sort(dim=1, descending=True, stable=True).indices[:, :most]
    return own, visits.gather(2, own.unsqueeze(1).expand(-1, visits.shape[1], -1))
