"""Several processes, one run: each takes its own batch, and gradients are averaged once per step.

Started by ``torchrun --nproc-per-node N`` or ``accelerate launch``, which set the variables torch reads. One process
needs neither.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class World:
    """This process's rank among ``size``."""

    rank: int = 0
    size: int = 1

    def batch_number(self, step: int) -> int:
        """Which batch of the mixture this process takes: no two processes take the same."""
        return step * self.size + self.rank

    def mean(self, value: float) -> float:
        """The mean over all processes, the same in each."""
        if self.size == 1:
            return value
        total = torch.tensor(value)
        distributed.all_reduce(total)
        return float(total) / self.size

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace gradients by their mean over all processes; a parameter without one counts as zero."""
        if self.size == 1:
            return
        named = list(parameters)
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in named])
        distributed.all_reduce(flat)
        for parameter, mean in zip(named, (flat / self.size).split([p.numel() for p in named]), strict=True):
            parameter.grad = mean.view_as(parameter)


ALONE = World()


def join_world() -> World:
    """Meet the other processes, if there are any."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
    return World(distributed.get_rank(), size)
