"""What each of two processes does in the test of all_reduce; light to import, since it is spawned."""

import os

import numpy as np

from dmth_fast.retrieval.baselines import random_codes
from dmth_fast.retrieval.evaluator import Evaluator

RNG = np.random.default_rng(0)
CODES, LABELS = random_codes(40, 12, seed=1), RNG.integers(0, 3, 40)
QUERIES, QUERY_LABELS = random_codes(6, 12, seed=2), RNG.integers(0, 3, 6)
ROWS, QUERY_ROWS = RNG.random((40, 5)) < 0.3, RNG.random((6, 5)) < 0.4
GRADED = {"bits": 12, "precision_at": [3, 9], "graded": "cosine"}
EXCLUDE = np.array([3, -1, 4, 39, 0, 7])


def refusal(call) -> str:
    """What a call is refused for."""
    try:
        call()
    except (ValueError, RuntimeError) as error:
        return str(error)
    return ""


def reduce_in_process(rank: int, port: int, results) -> None:
    """Evaluate every second item, sum with the other process, and try to sum with other settings.

    The group is the one that accelerate makes, as under ``accelerate launch`` or ``torchrun``.
    """
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    import torch.distributed as distributed
    from accelerate import PartialState

    state = PartialState(cpu=True, backend="gloo")
    evaluator = Evaluator(QUERIES, QUERY_LABELS, bits=12, exclude=EXCLUDE, threads=1)
    with state.split_between_processes(list(range(40))) as part:
        rows = np.array(part)
        evaluator.update(CODES[rows], LABELS[rows], ids=rows)
        graded = Evaluator(QUERIES, QUERY_ROWS, **GRADED)
        graded.update(CODES[rows], ROWS[rows])
    evaluator.all_reduce()
    graded.all_reduce()
    other = Evaluator(QUERIES, QUERY_LABELS, bits=12, top_k=rank + 1)
    twice = Evaluator(QUERIES, QUERY_LABELS, bits=12, exclude=EXCLUDE)
    twice.update(CODES, LABELS, ids=np.arange(40))
    refused = [
        refusal(other.all_reduce),
        refusal(graded.all_reduce),
        refusal(lambda: graded.update(CODES, ROWS)),
        refusal(lambda: graded.merge(graded)),
        refusal(twice.all_reduce),
    ]
    reports = [part.compute().to_json(per_query=True) for part in (evaluator, graded)]
    results.put((reports, refused, str(state.distributed_type)))
    distributed.destroy_process_group()
