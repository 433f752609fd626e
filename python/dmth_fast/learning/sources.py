"""Where image files come from: folders and zip archives of class folders, read in place."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

EXTENSIONS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

# What Pillow and zipfile raise for a file that is damaged, cut short or not an image.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class ImageFile:
    """One image file: ``name`` is its path inside ``container``, a folder or an open zip archive."""

    container: "Path | zipfile.ZipFile"
    name: str
    class_name: str

    def read(self) -> bytes:
        """Return the file's bytes."""
        if isinstance(self.container, Path):
            return (self.container / self.name).read_bytes()
        return self.container.read(self.name)

    def fingerprint(self) -> str:
        """What tells its bytes from others without reading them: size and time of change, or size and CRC."""
        if isinstance(self.container, Path):
            status = (self.container / self.name).stat()
            return f"{status.st_size} {status.st_mtime_ns}"
        member = self.container.getinfo(self.name)
        return f"{member.file_size} {member.CRC}"


@dataclass(frozen=True)
class Listing:
    """Image files in a fixed order (by container, then name), class folders, and what was left out."""

    files: tuple[ImageFile, ...]
    classes: tuple[str, ...]
    ignored: tuple[tuple[str, str], ...]


def decode(data: bytes, size: int | None = None) -> Tensor:
    """Decode an image file to uint8 RGB of shape (3, h, w), turned as its EXIF data say.

    Args:
        data: the bytes of a file that Pillow can read.
        size: if given, the shorter side is resized to it (bicubic, antialiased) and the centre is cut out.

    Raises:
        OSError, SyntaxError, ValueError: the bytes are no image, damaged or cut short.
    """
    with Image.open(io.BytesIO(data)) as opened:
        pixels = to_pixels(opened)
    return pixels.contiguous() if size is None else fit_size(pixels[None], size)[0]


def to_pixels(image: Image.Image) -> Tensor:
    """Return a Pillow image as uint8 RGB (3, h, w), turned as its EXIF data say; errors as :func:`decode`."""
    image.load()
    if "exif" in image.info or image.format == "TIFF":
        image = ImageOps.exif_transpose(image)
    if image.mode == "P":
        image = image.convert("RGBA")
    if image.mode != "RGB":
        image = image.convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def fit_size(images: Tensor, size: int) -> Tensor:
    """Resize the shorter side of uint8 images (n, 3, h, w) to ``size``, then cut out the central square."""
    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images.contiguous()
    scale = size / min(height, width)
    target = (max(size, round(height * scale)), max(size, round(width * scale)))
    resized = resize(images, target)
    top, left = (target[0] - size) // 2, (target[1] - size) // 2
    return resized[..., top : top + size, left : left + size].contiguous()


def resize(images: Tensor, size: tuple[int, int], *, as_float: bool = False) -> Tensor:
    """Resize uint8 images (n, 3, h, w), bicubic and antialiased.

    Args:
        images: on any device.
        size: height and width.
        as_float: compute in float, as is done wherever torch cannot resize uint8: off the CPU. Rounded after
            each axis, as torch does on the CPU, it differs in under 2 % of the values, by 1 or 2.
    """
    if not as_float and images.device.type == "cpu":
        return torch.nn.functional.interpolate(images, size=size, mode="bicubic", antialias=True)
    resized = images.float()
    for step in ((images.shape[-2], size[1]), size):
        resized = torch.nn.functional.interpolate(resized, size=step, mode="bicubic", antialias=True)
        resized = resized.round_().clamp_(0, 255)
    return resized.to(torch.uint8)


def list_files(source: str | Path | Sequence[str | Path], *, with_classes: bool) -> Listing:
    """List the image files of a folder, a zip archive, or several zip archives of one layout.

    A folder holds ``<class>/.../<image>``. In archives the folders that all members share (``train/``) are
    passed over, so that ``train/<class>/<image>`` and ``<class>/<image>`` mean the same. Image files in a
    list have their file names as names, or their paths where two have one file name.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: no image at all, an image outside a class folder, a class folder without an image, a name
            that occurs twice, or a file that is no zip archive.
    """
    paths = [Path(source)] if isinstance(source, str | Path) else [Path(path) for path in source]
    if not paths:
        raise ValueError("source must name at least one folder or zip archive, got an empty list")
    files: list[ImageFile] = []
    folders: set[str] = set()
    ignored: list[tuple[str, str]] = []
    where = ", ".join(map(str, paths))
    if len(paths) == 1 and paths[0].is_dir():
        members: list[tuple[Path | zipfile.ZipFile, str]] = [(paths[0], name) for name in _walk(paths[0])]
        prefix = 0
        folders |= {entry.name for entry in paths[0].iterdir() if entry.is_dir() and not _hidden(entry.name)}
    else:
        members = [member for path in paths for member in _members(path)]
        prefix = _shared_folders([name for _, name in members if not name.endswith("/")])
        parts = [PurePosixPath(name).parts for _, name in members if name.endswith("/")]
        folders |= {part[prefix] for part in parts if len(part) > prefix and not _hidden(part[prefix])}
    for container, name in members:
        path = PurePosixPath(name)
        if name.endswith("/") or any(_hidden(part) for part in path.parts):
            continue
        if path.suffix.lower() not in EXTENSIONS:
            ignored.append((name, f"not an image by its extension {path.suffix!r}"))
        elif len(path.parts) <= prefix + 1 and with_classes:
            raise ValueError(
                f"source {where}: {name} lies outside a class folder; pass labels='none' to do without"
            )
        else:
            files.append(ImageFile(container, name, path.parts[prefix] if with_classes else ""))
    if not files:
        raise ValueError(f"source {where}: no image found (known extensions: {' '.join(sorted(EXTENSIONS))})")
    if len({file.name for file in files}) < len(files):
        files = [_by_path(file) for file in files]
    _refuse_duplicates(files, where)
    classes = tuple(sorted({file.class_name for file in files} | folders)) if with_classes else ()
    refuse_empty_classes(classes, (file.class_name for file in files), where)
    return Listing(tuple(files), classes, tuple(ignored))


def refuse_empty_classes(classes: Iterable[str], used: Iterable[str], where: str) -> None:
    """Raise ValueError if one of ``classes`` has no image."""
    if empty := sorted(set(classes) - set(used)):
        raise ValueError(f"source {where}: class folder without a readable image: {', '.join(empty)}")


def _by_path(file: ImageFile) -> ImageFile:
    if not isinstance(file.container, Path):
        return file
    return ImageFile(Path(), (file.container / file.name).as_posix(), file.class_name)


def _walk(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def _members(path: Path) -> list[tuple[Path | zipfile.ZipFile, str]]:
    if not path.exists():
        raise FileNotFoundError(f"source {path} does not exist")
    if path.is_dir():
        raise ValueError(
            f"source must be one folder or a list of zip archives, got the folder {path} in a list"
        )
    if path.suffix.lower() in EXTENSIONS:
        return [(path.parent, path.name)]
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"source {path} is neither a folder nor a zip archive: {error}") from None
    return [(archive, info.filename) for info in sorted(archive.infolist(), key=lambda info: info.filename)]


def _shared_folders(names: Sequence[str]) -> int:
    """Count the leading folders that every name shares, leaving each name its class folder and its file."""
    parts = [PurePosixPath(name).parts for name in names if not any(map(_hidden, PurePosixPath(name).parts))]
    if not parts:
        return 0
    shared = 0
    while all(len(part) > shared + 2 and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    return shared


def _hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _refuse_duplicates(files: Sequence[ImageFile], where: str) -> None:
    seen: set[str] = set()
    for file in files:
        if file.name in seen:
            raise ValueError(f"source {where}: the name {file.name} occurs more than once")
        seen.add(file.name)
