"""Weight files: safetensors only, read strictly and written as one atomic step."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dmth_fast.atomic import write_bytes

_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Read every tensor of a safetensors file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a safetensors file; pickles are refused.
    """
    return load_file(path)[0]


def load_file(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a safetensors file; errors as :func:`load_weights`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights file {path} does not exist")
    with path.open("rb") as head:
        begin = head.read(9)
    # torch.save writes a zip archive, pickle the opcode of its protocol; safetensors begin with the length of
    # their header, whose bytes may be the same, and then the header itself.
    pickled = begin[:2] == b"PK" or (begin[:1] == b"\x80" and begin[1:2] <= b"\x05")
    if path.suffix in _PICKLES or (pickled and begin[8:] != b"{"):
        raise ValueError(
            f"weights file {path} is a pickle, which can run code when it is opened. Convert it where you "
            "trust it: safetensors.torch.save_file(torch.load(FILE, weights_only=True), FILE.safetensors)"
        )
    try:
        with safe_open(path, framework="pt") as file:
            keys = file.keys()
            return {key: file.get_tensor(key) for key in keys}, dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"weights file {path} is not a whole safetensors file: {error}") from None


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def state_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values of a state dict."""
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file as one atomic step."""
    whole = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    write_bytes(path, save(whole, dict(metadata or {})))
