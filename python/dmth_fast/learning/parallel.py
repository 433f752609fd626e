"""Several processes that train one network: who this one is, and rows of all of them with their gradient."""

import os
from typing import Any

import torch
from torch import Tensor, distributed

__all__ = ["any_process", "gather_rows", "is_main", "join_processes", "rank", "share", "wait", "world_size"]


def join_processes(device: str = "auto") -> None:
    """Join the other processes of ``accelerate launch`` or ``torchrun``; alone it does nothing.

    Args:
        device: ``auto`` (what accelerate finds) or ``cpu``.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and world_size() == 1:
        from accelerate import PartialState
        from accelerate.utils import parse_flag_from_env

        # Without this word accelerate leaves processes on a machine without a GPU to themselves.
        on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
        PartialState(cpu=device == "cpu" or on_cpu)
        if world_size() == 1:
            raise RuntimeError(f"{os.environ['WORLD_SIZE']} processes were started but could not be joined")


def wait() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        distributed.barrier()


def any_process(flag: bool) -> bool:
    """Whether ``flag`` is set in any process.

    Example:
        >>> any_process(True), any_process(False)
        (True, False)
    """
    if world_size() == 1:
        return flag
    flags: list[Any] = [None] * world_size()
    distributed.all_gather_object(flags, flag)
    return any(flags)


def world_size() -> int:
    """Number of processes; 1 where there is no process group."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return distributed.get_rank() if world_size() > 1 else 0


def is_main() -> bool:
    """Whether this process is the one that writes files."""
    return rank() == 0


def share(count: int) -> slice:
    """Return this process's part of ``count`` rows; parts differ by one row at most.

    Example:
        >>> share(10)
        slice(0, 10, None)
    """
    processes, own = world_size(), rank()
    return slice(count * own // processes, count * (own + 1) // processes)


def gather_rows(rows: Tensor) -> Tensor:
    """Join the rows of all processes, equally many each, in the order of the processes.

    The gradient comes back to the own rows, times the number of processes: every process computes the same
    loss of all rows, and the mean over processes, which data-parallel training takes of the gradients, is
    then the gradient of one process that has all rows. Alone it returns ``rows`` as they are.

    Example:
        >>> gather_rows(torch.ones(2, 3)).shape
        torch.Size([2, 3])
    """
    if world_size() == 1:
        return rows
    joined: Tensor = _Gather.apply(rows)
    return joined


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(world_size())]
        distributed.all_gather(parts, rows.contiguous())
        ctx.count = len(rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        first = rank() * ctx.count
        return gradients[0][first : first + ctx.count] * world_size()
