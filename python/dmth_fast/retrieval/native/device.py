"""The CUDA module, which a build may lack."""

from importlib import import_module
from types import ModuleType
from typing import NamedTuple


class CudaStatus(NamedTuple):
    """Whether CUDA can be used; true and false as ``available`` is.

    Attributes:
        available: This build has the CUDA module, and there are a driver and a device for it.
        reason: Why not; empty where it is available.
        driver: Newest CUDA version of the driver, 1000 * major + 10 * minor; 0 without a driver or module.
        runtime: CUDA version of the module, 0 without one.
        devices: The number of devices.
    """

    available: bool
    reason: str
    driver: int
    runtime: int
    devices: int

    def __bool__(self) -> bool:
        """As ``available``."""
        return self.available


def cuda_available() -> CudaStatus:
    """Whether the verbs can run on a CUDA device, and if not, why; never raises.

    Returns:
        A :class:`CudaStatus`.

    Example:
        >>> status = cuda_available()
        >>> bool(status) == (status.reason == "")
        True
    """
    try:
        module = import_module("dmth_fast._cuda")
    except ModuleNotFoundError:
        return CudaStatus(False, "this build of dmth_fast has no CUDA module", 0, 0, 0)
    except ImportError as error:
        return CudaStatus(False, f"the CUDA module does not load: {error}", 0, 0, 0)
    driver, runtime, devices, reason = module.status()
    return CudaStatus(not reason, reason, driver, runtime, devices)


def cuda() -> ModuleType:
    """The module ``_cuda``: the verbs on device memory, by address.

    Returns:
        The module; only :mod:`dmth_fast.retrieval.cuda` calls it.

    Raises:
        RuntimeError: CUDA is not available; says why.
    """
    try:
        return import_module("dmth_fast._cuda")
    except ImportError:
        raise RuntimeError(f"CUDA tensors need the CUDA module: {cuda_available().reason}") from None
