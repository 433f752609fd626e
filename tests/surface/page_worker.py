"""Builds pages of a few images in a process of its own, since gradio leaves open what it opens; prints JSON.

``page_worker.py FOLDER``: a folder of 9 digits of 8 x 8 pixels, one of them in the folder ``deep``.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from gradio_client import Client, handle_file

from dmth_fast import serve
from dmth_fast.learning.data import digits, open_images
from dmth_fast.learning.hasher import Hasher


def slider_of(page: Any) -> tuple[float, float, float]:
    slider = next(part for part in page.blocks.values() if type(part).__name__ == "Slider")
    return slider.minimum, slider.maximum, slider.value


def main(folder: Path) -> None:
    train, _ = digits()
    hasher = Hasher("tiny-4", bits=12, epochs=1, batch_size=16, device="cpu").fit(
        train.select(torch.arange(64))
    )

    def collection(images: Path) -> serve.Collection:
        return serve.Collection(hasher, open_images(images, size=8, labels="none", memory_limit=0))

    every = collection(folder)
    page = serve.page(every, 3)
    _, address, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    query = handle_file(str(folder / every.names[2]))
    shown, words = Client(address, verbose=False).predict(query, 4, api_name="/search")
    page.close(verbose=False)
    answer = {
        "captions": [one["caption"] for one in shown],
        "words": words,
        "sliders": [slider_of(page), slider_of(serve.page(every, 200))],
        "single": slider_of(serve.page(collection(folder / "deep"), 12)),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
