"""The ``serve`` command: a web page that shows which images of a collection are nearest to a given one."""

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmth_fast import codefiles, encoding

if TYPE_CHECKING:
    from PIL.Image import Image

    from dmth_fast.learning.data import ImageSet
    from dmth_fast.learning.hasher import Hasher

__all__ = ["Answer", "Collection", "Neighbour", "page", "run"]

_COMPARED = 16  # images whose codes are made anew where codes come from a file
_SHOWN_SIDES = 160, 512  # pixels of the longer side of an image on the page, at least and at most


class Neighbour(NamedTuple):
    """An image of the collection, its name, and its Hamming distance from the query."""

    image: "Image"
    name: str
    distance: int


class Answer(NamedTuple):
    """The neighbours of an image, nearest first, and what encoding and searching took, in milliseconds."""

    neighbours: list[Neighbour]
    encoding_ms: float
    search_ms: float


class Collection:
    """Images in files, a student, and an index of the codes that it gives them.

    Args:
        hasher: The student.
        images: Of files, which are read again when they are shown: ``open_images(..., memory_limit=0)``.
        codes: (n, bytes) uint8, their packed codes in the same order; None encodes them now.
        batch_size: Images encoded at a time.

    Raises:
        TypeError: Codes that are not uint8.
        ValueError: Codes of another number, another width, or of other images or another student: of some
            images the codes are made anew, and one bit in twenty may differ, as between machines.
    """

    def __init__(
        self,
        hasher: "Hasher",
        images: "ImageSet",
        codes: NDArray[np.uint8] | None = None,
        batch_size: int = 256,
    ) -> None:
        from dmth_fast import Index
        from dmth_fast.learning.data import LazyImages

        if not isinstance(images.images, LazyImages):
            raise TypeError("images must stay files: open_images(..., memory_limit=0)")
        if codes is None:
            codes = encoding.encoded(hasher, images, batch_size)
        else:
            _check_codes(hasher, images, codes)
        self.hasher, self.names, self._files = hasher, images.names, images.images.files
        self._index = Index(hasher.bits)
        self._index.add(codes)

    def __len__(self) -> int:
        """The number of images."""
        return len(self._files)

    def picture(self, row: int) -> "Image":
        """An image as it is in its file, turned as its EXIF data say."""
        from PIL import Image, ImageOps

        with Image.open(io.BytesIO(self._files[row].read())) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")

    def nearest(self, image: "Image", k: int) -> Answer:
        """The ``k`` images nearest to ``image``, or all if there are fewer.

        Raises:
            ValueError: k < 1.
        """
        start = time.perf_counter()
        code = self.hasher.encode(image)
        encoded = time.perf_counter()
        distances, ids = self._index.search(code, k)
        found = time.perf_counter()
        neighbours = [
            Neighbour(self.picture(row), self.names[row], distance)
            for row, distance in zip(ids[0].tolist(), distances[0].tolist(), strict=True)
        ]
        return Answer(neighbours, 1e3 * (encoded - start), 1e3 * (found - encoded))


def page(collection: Collection, k: int) -> Any:
    """The web page, ``gradio.Blocks``: an image in, ``k`` neighbours out, and how long it took.

    Raises:
        ModuleNotFoundError: gradio is not installed.
    """
    gradio = _gradio()
    bits, count = collection.hasher.bits, len(collection)

    def answer(image: "Image | None", wanted: float) -> tuple[list[tuple[Any, str]], str]:
        if image is None:
            return [], ""
        found = collection.nearest(image, int(wanted))
        shown = [(_fit(one.image), f"{one.distance} \N{MIDDLE DOT} {one.name}") for one in found.neighbours]
        return shown, (
            f"Code of {bits} bits in {found.encoding_ms:.1f} ms, {len(shown)} nearest of {count:,} codes in "
            f"{found.search_ms:.2f} ms. Below each image: the bits in which its code differs, and its name."
        )

    def drawn() -> "Image":
        return collection.picture(int(np.random.default_rng().integers(count)))

    with gradio.Blocks(title="dmth_fast", analytics_enabled=False) as blocks:
        gradio.Markdown(f"# {count:,} images\nPut an image here: its nearest neighbours by Hamming distance.")
        with gradio.Row():
            most = min(max(100, k), count)
            with gradio.Column(scale=1):
                image = gradio.Image(
                    type="pil",
                    image_mode="RGB",
                    format="png",  # without loss: what goes to the page comes back as the query
                    sources=["upload", "clipboard"],
                    label="Query",
                    height=320,
                )
                wanted = gradio.Slider(1, max(2, most), value=min(k, most), step=1, label="Neighbours")
                another = gradio.Button("An image of the collection")
            with gradio.Column(scale=3):
                gallery = gradio.Gallery(
                    label="Nearest first", columns=6, object_fit="contain", height="auto"
                )
                words = gradio.Markdown()
        another.click(drawn, None, image, api_name=False)
        inputs, outputs = [image, wanted], [gallery, words]
        image.change(answer, inputs, outputs, api_name="search")
        wanted.release(answer, inputs, outputs, api_name=False)
    return blocks


def run(
    model: Path, images: Path, *, codes: Path | None, k: int, host: str, port: int, batch_size: int
) -> None:
    """Encode ``images``, or take their ``codes``, and serve the page until Ctrl-C.

    Args:
        model: Folder that :meth:`dmth_fast.Hasher.save` wrote.
        images: A folder or a zip.
        codes: What ``dmth-fast encode`` wrote for these images with this student; None encodes them.
        k: Neighbours shown at first.
        host: Address that the page is served at; the default is this machine's alone.
        port: Its port.
        batch_size: Images encoded at a time.

    Raises:
        ModuleNotFoundError: gradio is not installed.
        FileNotFoundError: No such student, images or codes.
        ValueError: Nothing readable, k < 1, or codes that are not those of the images.
        OSError: The port is taken.
    """
    _gradio()  # before the work
    for option, value in (("-k", k), ("--batch-size", batch_size)):
        if value < 1:
            raise ValueError(f"{option} must be at least 1, got {value}")
    from dmth_fast.learning.data import open_images
    from dmth_fast.learning.hasher import Hasher

    hasher = Hasher.load(model)
    opened = open_images(images, size=encoding.side_of(hasher), labels="none", memory_limit=0)
    known = None
    if codes is not None:
        stored = codefiles.read_codes(codes, bits=hasher.bits)
        if stored.ids is not None:
            raise ValueError(f"--codes must be in the order of the images, {codes} is an index with ids")
        known = stored.codes
    collection = Collection(hasher, opened, known, batch_size)
    print(f"{len(collection):,} images, codes of {hasher.bits} bits; Ctrl-C ends", flush=True)
    page(collection, k).launch(server_name=host, server_port=port, share=False, show_error=True)


def _fit(image: "Image") -> "Image":
    """An image that is neither tiny nor huge on a page."""
    least, most = _SHOWN_SIDES
    longer = max(image.size)
    if longer < least:
        factor = -(-least // longer)
        return image.resize((image.width * factor, image.height * factor), resample=0)  # each pixel a square
    image.thumbnail((most, most))
    return image


def _check_codes(hasher: "Hasher", images: "ImageSet", codes: NDArray[np.uint8]) -> None:
    import torch

    from dmth_fast import hamming_distances

    if len(codes) != len(images):
        raise ValueError(f"codes must be one for each of the {len(images):,} images, got {len(codes):,}")
    rows = np.linspace(0, len(images) - 1, min(_COMPARED, len(images))).astype(np.int64)
    made = hasher.encode(images.select(torch.from_numpy(rows)))
    if codes.shape[1] != made.shape[1]:
        raise ValueError(f"codes must be of {made.shape[1]} bytes ({hasher.bits} bits), got {codes.shape[1]}")
    differing = int(np.trace(hamming_distances(made, np.ascontiguousarray(codes[rows]))))
    if 20 * differing > len(rows) * hasher.bits:
        raise ValueError(
            f"codes must be those of these images by this student, in this order, but of {len(rows)} codes "
            f"made anew {differing} of {len(rows) * hasher.bits} bits differ"
        )


def _gradio() -> Any:
    try:
        import gradio
    except ModuleNotFoundError:
        raise ModuleNotFoundError('the page needs gradio: pip install "dmth-fast[serve]"') from None
    return gradio
