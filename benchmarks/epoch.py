"""What measuring mAP after an epoch costs, beside the epoch: one command, one saved result.

``python benchmarks/epoch.py --json benchmarks/results/evaluation-epoch.json``

The epoch: ResNet-20 on 50,000 images of 32 x 32 pixels, its length from the rate of a real short epoch on
noise (speed does not depend on what the images show). The evaluation: 10,000 query codes against 50,000 of
64 bits, the whole default report. Encoding the images is a forward pass that any metric would need; its time
is given apart.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

IMAGES, QUERIES, BITS, CLASSES = 50_000, 10_000, 64, 10


def seconds(call: Callable[[], object], turns: int) -> tuple[float, float]:
    """Of the fastest of several calls: seconds, and seconds of processor time over all threads."""
    taken = []
    for _ in range(turns):
        begin = time.perf_counter(), time.process_time()
        call()
        taken.append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    return min(taken)


def measure(backbone: str, sample: int, threads: int) -> dict[str, Any]:
    """Time training, encoding and evaluation; the fastest of each, so that the epoch is not flattered."""
    import numpy as np
    import torch

    import dmth_fast as df
    from dmth_fast import environment
    from dmth_fast.learning.config import TrainingConfig
    from dmth_fast.learning.data import ImageSet

    torch.set_num_threads(threads)
    pixels = torch.randint(
        0, 256, (sample, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    names = tuple(str(i) for i in range(CLASSES))
    images = ImageSet(images=pixels, labels=torch.arange(sample) % CLASSES, classes=names)
    hasher = df.Hasher(backbone, BITS, training=TrainingConfig(epochs=1))
    hasher.fit(images, progress=False)  # the first call loads what torch loads late
    epoch = [IMAGES / sample * taken for taken in seconds(lambda: hasher.fit(images, progress=False), 3)]
    encoding = [(QUERIES + IMAGES) / sample * taken for taken in seconds(lambda: hasher.encode(images), 3)]
    rng = np.random.default_rng(0)
    centres = rng.random((CLASSES, BITS)) < 0.5

    def codes(count: int) -> tuple[Any, Any]:
        labels = rng.integers(0, CLASSES, count)
        return df.pack(centres[labels] ^ (rng.random((count, BITS)) < 0.2)), labels

    arrays = (*codes(QUERIES), *codes(IMAGES))
    from dmth_fast.retrieval.evaluation import average_precision

    whole = seconds(lambda: df.evaluate(*arrays, bits=BITS, threads=threads), 7)
    alone = seconds(lambda: average_precision(*arrays, bits=BITS, threads=threads), 7)
    return {
        "name": "evaluation-epoch",
        "command": f"benchmarks/epoch.py --backbone {backbone} --sample {sample} --threads {threads}",
        "epoch": {"backbone": backbone, "images": IMAGES, **_named(epoch)},
        "evaluation": {
            "queries": QUERIES,
            "items": IMAGES,
            "bits": BITS,
            **_named(whole),
            "share_of_epoch": whole[0] / epoch[0],
            "share_of_processor_time": whole[1] / epoch[1],
            "map_alone": _named(alone),
        },
        "encoding": {"images": QUERIES + IMAGES, **_named(encoding)},
        "threads": threads,
        "environment": environment.describe(),
    }


def _named(taken: Sequence[float]) -> dict[str, float]:
    return {"seconds": taken[0], "processor_seconds": taken[1]}


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--backbone", default="resnet20")
    parser.add_argument("--sample", type=int, default=1024, help="images a timed epoch")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    # Threads that spin while they wait would take the cores from what is timed next.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    result = measure(arguments.backbone, arguments.sample, arguments.threads)
    epoch, evaluation = result["epoch"], result["evaluation"]
    print(
        f"epoch {epoch['seconds']:.1f} s, evaluation {evaluation['seconds']:.3f} s: "
        f"{100 * evaluation['share_of_epoch']:.2f} %, {100 * evaluation['share_of_processor_time']:.2f} % of "
        f"the processor time (mAP alone {evaluation['map_alone']['seconds']:.3f} s); "
        f"encoding {result['encoding']['seconds']:.1f} s"
    )
    if arguments.json is not None:
        from dmth_fast.atomic import write_json

        write_json(arguments.json, result)


if __name__ == "__main__":
    main()
