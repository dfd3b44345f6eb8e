"""The places that excite each unit most, kept while text streams by."""

from __future__ import annotations

import torch
from torch import Tensor

_PLACE_BITS = 31
MOST_PLACES = 1 << _PLACE_BITS


class RunningTop:
    """For each of M units the k places of largest |activation|, of equal ones the earliest.

    After updates, `places` (M, k) int64 and `kept` name -> (M, k), both strongest first; fewer
    columns while fewer places have been seen.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self._keys: Tensor | None = None
        self.kept: dict[str, Tensor] = {}

    def update(self, hidden: Tensor, places: Tensor, companions: dict[str, Tensor]) -> None:
        """See n more places: activations (n, M), their numbers (n,) int64 in 0..MOST_PLACES - 1.

        `companions`, each (n, M), are kept at the places that are; "hidden" is always one.
        """
        # The bits of a float that is not negative order as the float does, so that one integer
        # holds strength and place, and ties are settled without a stable sort.
        strength = hidden.float().abs().T.contiguous().view(torch.int32).long()
        keys = (strength << _PLACE_BITS) | (MOST_PLACES - 1 - places)
        found, at = keys.topk(min(self.k, keys.shape[1]), dim=1)
        new = {n: v.T.gather(1, at) for n, v in (companions | {"hidden": hidden}).items()}
        if self._keys is not None:
            found = torch.cat((self._keys, found), dim=1)
            new = {name: torch.cat((self.kept[name], value), dim=1) for name, value in new.items()}
            found, at = found.topk(min(self.k, found.shape[1]), dim=1)
            new = {name: value.gather(1, at) for name, value in new.items()}
        self._keys, self.kept = found, new

    @property
    def places(self) -> Tensor:
        """The numbers of the places, (M, k)."""
        assert self._keys is not None, "update comes first"
        return MOST_PLACES - 1 - (self._keys & (MOST_PLACES - 1))
