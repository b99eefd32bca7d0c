"""Who owns which block of the KV cache.

A block belongs to as many sequences as count it, to nobody but the prefix cache, or to nobody at all. What only the
prefix cache holds is given away when free blocks run out, the longest unused first.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice


class BlockPool:
    """Blocks numbered from 0, their owners, and the keys under which full ones are found again.

    Args:
        blocks: how many there are.
    """

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self._free = set(range(blocks))
        self._owners: dict[int, int] = {}
        # Blocks without an owner that still hold what their key says, longest unused first.
        self._unused: OrderedDict[int, None] = OrderedDict()
        self._by_key: dict[bytes, int] = {}
        self._keys: dict[int, bytes] = {}

    @property
    def used(self) -> int:
        """Blocks that sequences own."""
        return len(self._owners)

    @property
    def available(self) -> int:
        """Blocks that `take` can give."""
        return len(self._free) + len(self._unused)

    def take(self, count: int, after: int | None = None) -> list[int] | None:
        """`count` blocks for a new owner, or None when there are not so many.

        Blocks in a row are read without a copy, so the one that follows `after` comes first when it can be had, and
        others are the beginning of the longest free row, which leaves it room to grow.
        """
        if count > self.available:
            return None
        if not self._free and after is not None and after + 1 in self._unused:
            self._evict(after + 1)
        while len(self._free) < count:
            self._evict(next(iter(self._unused)))
        taken = list(islice(self._in_rows(after), count))
        self._free.difference_update(taken)
        self._owners.update(dict.fromkeys(taken, 1))
        return taken

    def _in_rows(self, after: int | None) -> Iterator[int]:
        """The free blocks: the one that follows `after`, then the longest rows."""
        following = None if after is None or after + 1 not in self._free else after + 1
        if following is not None:
            yield following
        for row in sorted(_rows(sorted(self._free)), key=len, reverse=True):
            yield from (block for block in row if block != following)

    def share(self, block: int) -> None:
        """Count one more owner of a block found by `find`."""
        self._unused.pop(block, None)
        self._owners[block] = self._owners.get(block, 0) + 1

    def release(self, blocks: Iterable[int]) -> None:
        """Take back one ownership of each block; the first of a sequence stay findable the longest."""
        for block in reversed(list(blocks)):
            self._owners[block] -= 1
            if self._owners[block] == 0:
                del self._owners[block]
                if block in self._keys:
                    self._unused[block] = None
                else:
                    self._free.add(block)

    def find(self, key: bytes) -> int | None:
        """The block that holds what the key says, if any; `share` it before the next `take`, or it may be gone."""
        return self._by_key.get(key)

    def remember(self, block: int, key: bytes) -> None:
        """Let `find` find a block, now that it is full. A key stays with its first block and a block with its key."""
        if block not in self._keys and self._by_key.setdefault(key, block) == block:
            self._keys[block] = key

    def _evict(self, block: int) -> None:
        del self._unused[block]
        del self._by_key[self._keys.pop(block)]
        self._free.add(block)


def _rows(blocks: list[int]) -> list[range]:
    """Sorted numbers as rows of neighbors."""
    rows: list[range] = []
    for block in blocks:
        if rows and rows[-1].stop == block:
            rows[-1] = range(rows[-1].start, block + 1)
        else:
            rows.append(range(block, block + 1))
    return rows
