"""What each of two processes does in the test of all_reduce; light to import, since it is spawned."""

import numpy as np

from dmth_fast.retrieval.baselines import random_codes
from dmth_fast.retrieval.evaluator import Evaluator

RNG = np.random.default_rng(0)
CODES, LABELS = random_codes(40, 12, seed=1), RNG.integers(0, 3, 40)
QUERIES, QUERY_LABELS = random_codes(6, 12, seed=2), RNG.integers(0, 3, 6)


def reduce_in_process(rank: int, port: int, results) -> None:
    """Evaluate every second item, sum with the other process, and try to sum with other settings."""
    import torch.distributed as distributed

    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    evaluator = Evaluator(QUERIES, QUERY_LABELS, bits=12)
    evaluator.update(CODES[rank::2], LABELS[rank::2])
    evaluator.all_reduce()
    other = Evaluator(QUERIES, QUERY_LABELS, bits=12, top_k=rank + 1)
    try:
        other.all_reduce()
        refused = ""
    except ValueError as error:
        refused = str(error)
    results.put((evaluator.compute().to_json(per_query=True), refused))
    distributed.destroy_process_group()
