"""What each process of the test with two does; run as a script, under the variables of accelerate launch."""

import sys
from pathlib import Path
from typing import Any

import torch

from dmth_fast import FusedTeacher, Hasher
from dmth_fast.learning.data import ImageSet, digits
from dmth_fast.learning.parallel import rank
from dmth_fast.learning.weights import save_tensors

SETTINGS: dict[str, Any] = {"padding": 1, "flip": False, "batch_size": 64, "epochs": 1, "frozen_norms": True}


def learn(folder: Path) -> dict[str, torch.Tensor]:
    """Train a fused teacher on stored features and a student with terms on pairs; return all weights."""
    train = digits()[0].select(torch.arange(128))
    more = digits()[1].select(torch.arange(40))
    teacher = FusedTeacher(
        [f"features:{folder}/features.safetensors"], bits=12, views=1, dim=8, dropout=0.0, **SETTINGS
    ).fit(train, progress=False)
    student = Hasher("tiny-4", 12, hash_loss="dch", queue=100, unlabelled_batch=10, lr=0.01, **SETTINGS)
    unlabelled = ImageSet(images=more.images, names=more.names)
    student.fit(train, teacher=teacher, unlabelled=unlabelled, progress=False)
    found = {f"teacher.{key}": value for key, value in teacher.network.state_dict().items()}
    found |= {f"student.{key}": value for key, value in student.network.state_dict().items()}
    terms = [[line["hash"], line["relational"], line["feature"]] for line in student.history]
    return found | {"terms": torch.tensor(terms, dtype=torch.float64)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[1])
    result = learn(target)
    save_tensors(target / f"result-{rank()}.safetensors", result)
