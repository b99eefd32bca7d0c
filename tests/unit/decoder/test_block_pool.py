"""Blocks: owned, shared, found again, given away when they are needed; none is lost and none has two contents."""

import random

import pytest

from services.decoder.block_pool import BlockPool
from services.decoder.kv_cache import BLOCK_TOKENS, BlockTable, KVCache

pytestmark = pytest.mark.unit


def take(pool: BlockPool, count: int, after: int | None = None) -> list[int]:
    blocks = pool.take(count, after)
    assert blocks is not None
    return blocks


def test_a_full_pool_gives_nothing_until_something_is_released() -> None:
    pool = BlockPool(10)
    first, _ = take(pool, 6), take(pool, 4)
    assert pool.used == 10
    assert pool.take(1) is None
    pool.release(first)
    assert pool.take(7) is None
    assert sorted(take(pool, 6)) == sorted(first)


def test_blocks_come_in_rows_that_can_grow() -> None:
    pool = BlockPool(20)
    first = take(pool, 4)
    second = take(pool, 3)
    assert (first, second) == ([0, 1, 2, 3], [4, 5, 6])
    pool.release(first)
    assert take(pool, 2) == [7, 8]
    assert take(pool, 1, after=8) == [9]
    assert take(pool, 1, after=6) == [10]


def test_a_full_block_is_found_by_its_key_while_nobody_needs_its_place() -> None:
    pool = BlockPool(3)
    (block,) = take(pool, 1)
    pool.remember(block, b"key")
    pool.release([block])
    assert pool.used == 0
    assert pool.find(b"key") == block
    take(pool, 2)
    assert pool.find(b"key") == block
    assert take(pool, 1) == [block]
    assert pool.find(b"key") is None


def test_the_longest_unused_goes_first_and_ends_before_beginnings() -> None:
    pool = BlockPool(4)
    old, new = take(pool, 2), take(pool, 2)
    for number, block in enumerate(old + new):
        pool.remember(block, bytes([number]))
    pool.release(old)
    pool.release(new)
    gone = []
    for _ in range(4):
        take(pool, 1)
        gone += [number for number in range(4) if pool.find(bytes([number])) is None and number not in gone]
    assert gone == [1, 0, 3, 2]


def test_when_nothing_is_free_the_block_that_follows_is_given_up_before_the_longest_unused() -> None:
    pool = BlockPool(4)
    blocks = take(pool, 4)
    for block in blocks:
        pool.remember(block, bytes([block]))
    pool.release(blocks[2:])
    assert pool.take(1, after=blocks[1]) == [blocks[2]]
    assert pool.find(bytes([blocks[3]])) == blocks[3]


def test_a_shared_block_is_free_only_after_its_last_owner() -> None:
    pool = BlockPool(1)
    (block,) = take(pool, 1)
    pool.remember(block, b"key")
    pool.share(block)
    pool.release([block])
    assert pool.take(1) is None
    pool.release([block])
    assert pool.available == 1


def test_the_first_block_of_a_key_keeps_it() -> None:
    pool = BlockPool(2)
    first, second = take(pool, 2)
    pool.remember(first, b"key")
    pool.remember(second, b"key")
    pool.release([first, second])
    assert pool.find(b"key") == first
    assert len(take(pool, 2)) == 2


def test_no_block_is_lost_or_owned_twice() -> None:
    pool, chance = BlockPool(50), random.Random(0)
    owned: list[list[int]] = []
    keys = 0
    for _ in range(3000):
        choice = chance.random()
        if owned and choice < 0.4:
            pool.release(owned.pop(chance.randrange(len(owned))))
        elif choice < 0.6 and owned:
            keys += 1
            pool.remember(chance.choice(chance.choice(owned)), keys.to_bytes(4, "big"))
        elif choice < 0.7 and (found := pool.find(chance.randint(1, keys + 1).to_bytes(4, "big"))) is not None:
            pool.share(found)
            owned.append([found])
        elif (blocks := pool.take(chance.randint(1, 12))) is not None:
            assert not set(blocks) & {block for other in owned for block in other}
            owned.append(blocks)
        assert pool.used == len({block for blocks in owned for block in blocks})
        assert pool.used + pool.available == 50
    for blocks in owned:
        pool.release(blocks)
    assert pool.available == 50
    assert sorted(take(pool, 50)) == list(range(50))


def test_a_table_knows_the_slot_of_every_token_and_whether_blocks_follow_each_other() -> None:
    table = BlockTable(60, "cpu")
    table.append([3, 4])
    assert table.in_a_row
    table.append([9])
    assert not table.in_a_row
    assert table.capacity_tokens == 3 * BLOCK_TOKENS
    expected = [block * BLOCK_TOKENS + offset for block in (3, 4, 9) for offset in range(BLOCK_TOKENS)]
    assert table.slots[: 3 * BLOCK_TOKENS].tolist() == expected


def test_a_cache_holds_whole_blocks_and_extends_all_or_nothing() -> None:
    cache = KVCache(layers=1, heads=1, head_width=2, capacity_tokens=3 * BLOCK_TOKENS + 5)
    assert cache.capacity_tokens == 3 * BLOCK_TOKENS
    table = BlockTable(100, "cpu")
    assert cache.extend(table, BLOCK_TOKENS + 1)
    assert not cache.extend(table, 4 * BLOCK_TOKENS)
    assert len(table.blocks) == 2
    assert cache.used_tokens == 2 * BLOCK_TOKENS


def test_a_table_grows_by_the_block_that_follows_when_that_is_free() -> None:
    cache = KVCache(layers=1, heads=1, head_width=2, capacity_tokens=10 * BLOCK_TOKENS)
    growing, leaving, staying = (BlockTable(100, "cpu") for _ in range(3))
    for table, blocks in ((growing, 1), (leaving, 2), (staying, 1)):
        assert cache.extend(table, blocks * BLOCK_TOKENS)
    cache.pool.release(leaving.blocks)
    assert cache.extend(growing, 2 * BLOCK_TOKENS)
    assert growing.in_a_row


def test_a_table_with_room_costs_nobody_a_block() -> None:
    cache = KVCache(layers=1, heads=1, head_width=2, capacity_tokens=2 * BLOCK_TOKENS)
    table, gone = BlockTable(32, "cpu"), BlockTable(32, "cpu")
    assert cache.extend(table, 1)
    assert cache.extend(gone, 1)
    cache.pool.remember(gone.blocks[0], b"key")
    cache.pool.release(gone.blocks)
    assert cache.extend(table, BLOCK_TOKENS)
    assert cache.pool.find(b"key") == gone.blocks[0]
