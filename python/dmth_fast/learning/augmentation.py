"""Random crops and flips of whole batches, decided by (seed, view, image) alone, and normalisation."""

import numpy as np
import torch
from torch import Tensor

Normalization = tuple[tuple[float, float, float], tuple[float, float, float]]

IMAGENET: Normalization = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of the RGB channels scaled to 0..1, as most published networks expect them."""


def crop_and_flip(images: Tensor, index: Tensor, *, seed: int, view: int, padding: int, flip: bool) -> Tensor:
    """Shift each image by up to ``padding`` pixels (black beyond the edge) and mirror half of them.

    What happens to an image depends on ``(seed, view, its index)`` only, never on the batch around it, so
    that cached teacher features and the student meet exactly the same picture.

    Args:
        images: uint8 (b, 3, h, w).
        index: int64 (b,), the images' positions in their set.
        seed: of the run.
        view: number of the view, at least 0.
        padding: pixels.
        flip: whether left and right may be exchanged.

    Returns:
        uint8 (b, 3, h, w).

    Example:
        >>> import torch
        >>> images = torch.arange(48, dtype=torch.uint8).reshape(1, 3, 4, 4)
        >>> same = crop_and_flip(images, torch.tensor([7]), seed=0, view=1, padding=0, flip=False)
        >>> torch.equal(images, same)
        True
    """
    noise = _hash(index, seed, view)
    height, width = images.shape[-2:]
    if padding:
        span = 2 * padding + 1
        rows = torch.from_numpy((noise & np.uint64(0xFFFF)) % np.uint64(span)).to(torch.int64)
        columns = torch.from_numpy(((noise >> np.uint64(16)) & np.uint64(0xFFFF)) % np.uint64(span)).to(
            torch.int64
        )
        padded = torch.nn.functional.pad(images, (padding, padding, padding, padding))
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        images = windows[torch.arange(len(images)), :, rows, columns]
    if flip:
        mirrored = torch.from_numpy((noise >> np.uint64(40)) & np.uint64(1)).to(torch.bool)
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images


def strengthen(images: Tensor, index: Tensor, *, seed: int, view: int) -> Tensor:
    """Change brightness by up to 40 % and grey out a square of half the side, somewhere in each image.

    Decided by ``(seed, view, index)`` as :func:`crop_and_flip`, of whose views this makes strong ones.

    Args:
        images: uint8 (b, 3, h, w).
        index: int64 (b,), the images' positions in their set.
        seed: of the run.
        view: number of the view, at least 0.

    Returns:
        uint8 (b, 3, h, w).

    Example:
        >>> import torch
        >>> image = torch.full((1, 3, 4, 4), 100, dtype=torch.uint8)
        >>> int((strengthen(image, torch.tensor([7]), seed=0, view=1) == 128).sum()) >= 3 * 4
        True
    """
    noise = _hash(index, seed, view + 2**20)
    height, width = images.shape[-2:]

    def fraction(shift: int) -> Tensor:
        low = (noise >> np.uint64(shift)) & np.uint64(0xFFFF)
        return torch.from_numpy(low.astype(np.float32) / 65536)

    factor = (0.6 + 0.8 * fraction(0)).view(-1, 1, 1, 1)
    changed = (images.float() * factor).round_().clamp_(0, 255).to(torch.uint8)
    sides = (height // 2, width // 2)
    top, left = (
        (fraction(shift) * (whole - side + 1)).long()[:, None]
        for shift, whole, side in zip((16, 32), (height, width), sides, strict=True)
    )
    rows, columns = torch.arange(height), torch.arange(width)
    inside = ((rows >= top) & (rows < top + sides[0]))[:, :, None] & (
        (columns >= left) & (columns < left + sides[1])
    )[:, None, :]
    return changed.masked_fill(inside[:, None], 128)


def mix(images: Tensor, *, alpha: float) -> tuple[Tensor, Tensor, float]:
    """Mix each image with a random partner of the batch, ``lambda x_i + (1 - lambda) x_j``, rounded to uint8.

    ``lambda ~ Beta(alpha, alpha)``, one for the batch, from torch's random state (Zhang et al., mixup, ICLR
    2018).

    Args:
        images: uint8 (b, 3, h, w).
        alpha: above 0.

    Returns:
        The mixed images uint8 (b, 3, h, w), the partners' positions int64 (b,), and lambda.

    Example:
        >>> import torch
        >>> mixed, partner, share = mix(torch.full((2, 3, 4, 4), 9, dtype=torch.uint8), alpha=1.0)
        >>> mixed.unique().tolist(), 0 <= share <= 1
        ([9], True)
    """
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    partner = torch.randperm(len(images))
    mixed = images.float().mul_(share).add_(images[partner].float(), alpha=1 - share)
    return mixed.round_().clamp_(0, 255).to(torch.uint8), partner, share


def normalize(images: Tensor, normalization: Normalization) -> Tensor:
    """Scale uint8 (b, 3, h, w) to 0..1, subtract the mean, divide by the deviation: float32, channels last.

    Example:
        >>> import torch
        >>> normalize(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8), ((0.5,) * 3, (0.25,) * 3)).flatten()
        tensor([2., 2., 2.])
    """
    mean, deviation = (torch.tensor(part, device=images.device).view(1, 3, 1, 1) for part in normalization)
    scaled = images.to(torch.float32, memory_format=torch.channels_last)
    return scaled.mul_(1 / (255 * deviation)).sub_(mean / deviation)


def _hash(index: Tensor, seed: int, view: int) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    """SplitMix64 (Steele et al. 2014) of (seed, view, index): 64 well mixed bits for each image."""
    start = (seed * 0x9E3779B97F4A7C15 + (view + 1) * 0xD1B54A32D192ED03) % 2**64
    state = index.cpu().numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(start)
    for _ in range(2):
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return state
