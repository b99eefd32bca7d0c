"""Slots are given to one owner at a time, and all of them come back."""

import random

import pytest

from services.decoder.kv_cache import KVCache

pytestmark = pytest.mark.unit


def new_cache(tokens: int) -> KVCache:
    return KVCache(layers=1, heads=1, head_width=2, capacity_tokens=tokens)


def reserve(cache: KVCache, tokens: int) -> range:
    slots = cache.reserve(tokens)
    assert slots is not None
    return slots


def test_a_full_cache_gives_nothing_until_something_is_released() -> None:
    cache = new_cache(10)
    first, second = reserve(cache, 6), reserve(cache, 4)
    assert cache.used_tokens == 10
    assert cache.reserve(1) is None
    cache.release(first)
    assert cache.used_tokens == 4
    assert cache.reserve(7) is None
    assert not set(reserve(cache, 6)) & set(second)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 0, 2)])
def test_neighbors_released_in_any_order_become_one_run(order: tuple[int, ...]) -> None:
    cache = new_cache(9)
    runs = [reserve(cache, 3) for _ in range(3)]
    for index in order:
        cache.release(runs[index])
    assert cache.used_tokens == 0
    assert reserve(cache, 9) == range(9)


def test_slots_never_have_two_owners_and_none_is_lost() -> None:
    cache, chance = new_cache(200), random.Random(0)
    owned: list[range] = []
    for _ in range(2000):
        if owned and chance.random() < 0.5:
            cache.release(owned.pop(chance.randrange(len(owned))))
        elif (slots := cache.reserve(chance.randint(1, 40))) is not None:
            owned.append(slots)
        held = [slot for slots in owned for slot in slots]
        assert len(held) == len(set(held)) == cache.used_tokens
    for slots in owned:
        cache.release(slots)
    assert reserve(cache, 200) == range(200)
