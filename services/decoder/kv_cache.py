"""Keys and values of every token that running sequences have seen.

One tensor is allocated at start-up and never grows. A sequence reserves a contiguous run of slots for its prompt and
its longest answer before it is admitted, so it can never run out half-way; releasing gives the slots back at once.
"""

import torch
from torch import Tensor


class KVCache:
    """A fixed number of token slots.

    Args:
        layers: layers of the model.
        heads: key and value heads of a layer.
        head_width: width of a head.
        capacity_tokens: slots.
        dtype: of keys and values.
        device: where they live.
    """

    def __init__(
        self,
        *,
        layers: int,
        heads: int,
        head_width: int,
        capacity_tokens: int,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        self.capacity_tokens = capacity_tokens
        # Keys and values of a layer stand in one tensor, keys first, so that a step writes both with one copy.
        self._slots = torch.empty((layers, 2, heads, capacity_tokens, head_width), dtype=dtype, device=device)
        self._by_layer = self._slots.flatten(1, 2).unbind(0)
        # Free runs by their start; neighbors are always merged.
        self._free: dict[int, int] = {0: capacity_tokens}

    @property
    def used_tokens(self) -> int:
        """Slots that are reserved now."""
        return self.capacity_tokens - sum(self._free.values())

    def reserve(self, tokens: int) -> range | None:
        """A run of `tokens` slots for the caller to own until `release`; None when no free run is long enough."""
        for start, length in sorted(self._free.items()):
            if length >= tokens:
                del self._free[start]
                if length > tokens:
                    self._free[start + tokens] = length - tokens
                return range(start, start + tokens)
        return None

    def release(self, slots: range) -> None:
        """Take back a run that `reserve` gave out."""
        start, length = slots.start, len(slots)
        before = next((s for s, n in self._free.items() if s + n == start), None)
        if before is not None:
            start, length = before, length + self._free[before]
        length += self._free.pop(slots.stop, 0)
        self._free[start] = length

    def write(self, layer: int, slots: Tensor, keys_and_values: Tensor) -> None:
        """Store `(rows, 2 * heads, head_width)`, keys first, at `slots` (rows,)."""
        self._by_layer[layer].index_copy_(1, slots, keys_and_values.transpose(0, 1))

    def views(self, start: int, tokens: int) -> list[tuple[Tensor, Tensor]]:
        """For each layer the keys and the values from slot `start` on, each `(1, heads, tokens, head_width)`.

        They are views: what is written later is seen in them.
        """
        run = self._slots[:, :, :, start : start + tokens]
        return list(zip(run[:, 0:1].unbind(0), run[:, 1:2].unbind(0), strict=True))
