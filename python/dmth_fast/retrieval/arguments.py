"""Checks of arguments at the public boundary: kinds of arrays, integers, choices.

A wrong type is a ``TypeError`` and a wrong shape or value a ``ValueError``; the message names the
argument, what was expected and what came. Nothing is converted here.
"""

import operator
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

_MAX_INT64 = 2**63 - 1
Array: TypeAlias = npt.NDArray[Any]
if TYPE_CHECKING:
    from torch import Tensor

    AnyArray: TypeAlias = Array | Tensor
else:
    AnyArray = Any  # annotations are evaluated, and torch may not be there


def is_tensor(value: object) -> bool:
    """Whether ``value`` is a torch tensor; never imports torch, since without it there is no tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_array(value: object) -> TypeGuard[Array]:
    """Whether ``value`` is a NumPy array whose every element counts: a mask would be lost on the way."""
    # Loaded by the first use of a mask, and not before; another thread may be loading it now.
    masked = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)
    return isinstance(value, np.ndarray) and not (masked and isinstance(value, masked))


def describe(value: object) -> str:
    """``float32 of shape (3, 4)`` for arrays and tensors, otherwise the type's name."""
    if isinstance(value, np.ndarray):
        order = (
            "" if value.dtype.isnative else "big-endian " if sys.byteorder == "little" else "little-endian "
        )
        masked = "" if is_array(value) else "masked "
        return f"{masked}{order}{value.dtype.name} of shape {value.shape}"
    if is_tensor(value):
        tensor: Any = value
        return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
    return type(value).__name__


def are_tensors(**arrays: object) -> bool:
    """True where all arguments are tensors of one device, False where all are NumPy arrays.

    Raises:
        TypeError: an argument is neither (nor is a masked array), or arrays are mixed with tensors.
        ValueError: the tensors are on more than one device.
    """
    kinds = {name: is_tensor(value) for name, value in arrays.items()}
    for name, value in arrays.items():
        if not kinds[name] and not is_array(value):
            raise TypeError(f"{name} must be a NumPy array or a torch tensor, got {describe(value)}")
    if not any(kinds.values()):
        return False
    if not all(kinds.values()):
        listed = ", ".join(
            f"{name} is a {'tensor' if kind else 'NumPy array'}" for name, kind in kinds.items()
        )
        raise TypeError(f"arguments must be all NumPy arrays or all torch tensors, but {listed}")
    devices = {name: str(value.device) for name, value in arrays.items()}  # type: ignore[attr-defined]
    if len(set(devices.values())) > 1:
        listed = ", ".join(f"{name} on {device}" for name, device in devices.items())
        raise ValueError(f"tensors must be on one device, got {listed}")
    return True


def as_numpy(value: AnyArray, name: str) -> Array:
    """The NumPy array itself, or a view of a CPU tensor's memory.

    Raises:
        TypeError: not an array, a masked one, or a tensor of a type that NumPy does not have.
        ValueError: a tensor that is not in the CPU's memory.
    """
    if is_array(value):
        return value
    if not is_tensor(value):
        raise TypeError(f"{name} must be a NumPy array or a torch tensor, got {describe(value)}")
    tensor: Any = value
    if tensor.device.type != "cpu":
        raise ValueError(f"{name} must be on the CPU, got a tensor on {tensor.device}: pass {name}.cpu()")
    try:
        array: Array = tensor.detach().numpy()
    except TypeError as error:
        raise TypeError(f"{name} must have a NumPy dtype, got {describe(value)}") from error
    return array


def on_host(value: AnyArray, name: str) -> Array:
    """:func:`as_numpy`, of a tensor on any device: what is elsewhere is copied.

    Raises:
        TypeError: as :func:`as_numpy`.
    """
    if is_tensor(value):
        tensor: Any = value
        return as_numpy(tensor.cpu(), name)
    return as_numpy(value, name)


def like(array: Array, original: AnyArray) -> Any:
    """``array`` as a tensor over the same memory where ``original`` is a tensor."""
    if not is_tensor(original):
        return array
    import torch

    return torch.from_numpy(array)


def integer(value: object, name: str, minimum: int, maximum: int | None = None) -> int:
    """``value`` as an int within the given bounds, inclusive; a bool is no integer.

    Raises:
        TypeError: not an integer.
        ValueError: out of bounds.
    """
    expected = f"an integer >= {minimum}" if maximum is None else f"an integer from {minimum} to {maximum}"
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be {expected}, got bool")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be {expected}, got {describe(value)}") from None
    if number < minimum or (maximum is not None and number > maximum):
        raise ValueError(f"{name} must be {expected}, got {number}")
    return number


def native_integer(value: object, name: str, minimum: int, maximum: int | None = None) -> int:
    """:func:`integer`, within what native code and int64 arrays take.

    Raises:
        TypeError: not an integer.
        ValueError: out of bounds, or 2**63 and above.
    """
    number = integer(value, name, minimum, maximum)
    if number > _MAX_INT64:
        raise ValueError(f"{name} must be an integer below 2**63, got {number}")
    return number


def optional_integer(value: object, name: str, minimum: int, maximum: int | None = None) -> int | None:
    """:func:`native_integer`, with None let through."""
    return None if value is None else native_integer(value, name, minimum, maximum)


def neighbours(k: object) -> int:
    """How many neighbours to ask native code for: what is beyond its integers is beyond every database.

    Raises:
        TypeError: not an integer.
        ValueError: below 1.
    """
    return min(integer(k, "k", 1), _MAX_INT64)


def choice(value: object, name: str, choices: Iterable[str]) -> str:
    """``value`` if it is one of ``choices``.

    Raises:
        ValueError: it is not; the message lists them.
    """
    known = tuple(choices)
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")
    return str(value)
