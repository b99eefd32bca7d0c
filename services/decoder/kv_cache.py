"""Keys and values of every token that sequences have seen, in blocks.

One tensor is allocated at start-up and never grows. A sequence holds a table of blocks that need not follow each other
(PagedAttention, arXiv 2309.06180) and may share its first blocks with others. Torch has no attention that follows a
table: blocks that do follow each other are read where they are, others are gathered for each layer.
"""

import torch
from torch import Tensor

from services.decoder.block_pool import BlockPool

BLOCK_TOKENS = 16


class BlockTable:
    """The blocks of one sequence, in order, and the slots of their tokens.

    Attributes:
        blocks: numbers of the blocks.
        slots: `(max_tokens rounded up,)` the slot of each token; those beyond the last block mean nothing yet.
        in_a_row: True while the blocks follow each other.
    """

    def __init__(self, max_tokens: int, device: str) -> None:
        self.blocks: list[int] = []
        self.slots = torch.zeros(blocks_of(max_tokens) * BLOCK_TOKENS, dtype=torch.long, device=device)
        self.in_a_row = True

    @property
    def capacity_tokens(self) -> int:
        """Tokens that the blocks hold."""
        return len(self.blocks) * BLOCK_TOKENS

    def append(self, blocks: list[int]) -> None:
        """Add blocks at the end."""
        for block in blocks:
            self.in_a_row = self.in_a_row and (not self.blocks or block == self.blocks[-1] + 1)
            end = self.capacity_tokens + BLOCK_TOKENS
            torch.arange(block * BLOCK_TOKENS, (block + 1) * BLOCK_TOKENS, out=self.slots[end - BLOCK_TOKENS : end])
            self.blocks.append(block)


class KVCache:
    """A fixed number of blocks of BLOCK_TOKENS tokens.

    Args:
        layers: layers of the model.
        heads: key and value heads of a layer.
        head_width: width of a head.
        capacity_tokens: most tokens held; rounded down to whole blocks.
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
        self.pool = BlockPool(capacity_tokens // BLOCK_TOKENS)
        self.device = device
        # Keys and values of a layer stand in one tensor, keys first, so that a step writes both with one copy.
        shape = (layers, 2 * heads, self.capacity_tokens, head_width)
        self._by_layer = torch.empty(shape, dtype=dtype, device=device).unbind(0)

    @property
    def capacity_tokens(self) -> int:
        """Most tokens held."""
        return self.pool.blocks * BLOCK_TOKENS

    @property
    def used_tokens(self) -> int:
        """Tokens in blocks that sequences own."""
        return self.pool.used * BLOCK_TOKENS

    def extend(self, table: BlockTable, tokens: int) -> bool:
        """Let the table hold so many tokens; False, and nothing changed, when there are too few blocks."""
        missing = blocks_of(tokens) - len(table.blocks)
        if missing <= 0:
            return True
        blocks = self.pool.take(missing, after=table.blocks[-1] if table.blocks else None)
        if blocks is None:
            return False
        table.append(blocks)
        return True

    def write(self, layer: int, slots: Tensor, keys_and_values: Tensor) -> None:
        """Store `(rows, 2 * heads, head_width)`, keys first, at `slots` (rows,)."""
        self._by_layer[layer].index_copy_(1, slots, keys_and_values.transpose(0, 1))

    def read(self, layer: int, table: BlockTable, tokens: int) -> tuple[Tensor, Tensor]:
        """Keys and values of a sequence's first tokens, each `(1, heads, tokens, head_width)`."""
        held = self._by_layer[layer]
        if table.in_a_row:
            start = table.blocks[0] * BLOCK_TOKENS
            seen = held[:, start : start + tokens]
        else:
            seen = held.index_select(1, table.slots[:tokens])
        keys, values = seen.unflatten(0, (2, 1, -1)).unbind(0)
        return keys, values


def blocks_of(tokens: int) -> int:
    """Blocks that hold so many tokens."""
    return -(-tokens // BLOCK_TOKENS)
