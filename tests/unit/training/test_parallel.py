"""Processes that share a run average their gradients and never take the same batch."""

import os
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from services.training.parallel import ALONE, World, join_world

pytestmark = pytest.mark.unit


def average_in(rank: int, meeting: str, out: str) -> None:
    """One of two processes: its gradient is its rank, and the second parameter has none in the first process."""
    os.environ["WORLD_SIZE"] = "2"
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    world = join_world()
    first, second = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(3))
    first.grad = torch.full((2,), float(rank))
    if rank == 1:
        second.grad = torch.full((3,), 4.0)
    world.average_gradients([first, second])
    assert first.grad is not None
    assert second.grad is not None
    torch.save([first.grad, second.grad, torch.tensor(world.mean(float(rank)))], f"{out}-{rank}")
    distributed.destroy_process_group()


def test_gradients_are_averaged(tmp_path: Path) -> None:
    multiprocessing.spawn(average_in, (str(tmp_path / "meeting"), str(tmp_path / "out")), nprocs=2)
    for rank in range(2):
        first, second, mean = torch.load(tmp_path / f"out-{rank}", weights_only=True)
        assert (first.tolist(), second.tolist(), mean.item()) == ([0.5, 0.5], [2.0, 2.0, 2.0], 0.5)


def test_no_two_processes_take_the_same_batch() -> None:
    taken = [World(rank, 2).batch_number(step) for step in range(3) for rank in range(2)]
    assert taken == [0, 1, 2, 3, 4, 5]
    assert ALONE.batch_number(7) == 7
