"""The CUDA module on a machine without a driver, and the words for what is missing."""

import sys

import pytest
import torch

from dmth_fast.retrieval import cuda, native

_cuda = pytest.importorskip("dmth_fast._cuda", reason="this build has no CUDA module")


def test_available_or_a_reason() -> None:
    status = native.cuda_available()
    assert bool(status) == status.available == (status.reason == "")
    assert status.runtime >= 12000
    assert status.available == torch.cuda.is_available() or status.reason


def test_without_a_driver_the_module_says_so() -> None:
    status = native.cuda_available()
    if status.driver:
        pytest.skip("this machine has a driver")
    assert not status
    assert status.reason == "no NVIDIA driver was found"
    with pytest.raises(_cuda.DeviceError, match="device attributes"):
        _cuda.search_plan(10, 1, 8, 1, "auto", 0, 1 << 20)
    assert native.cuda_available() == status


@pytest.mark.parametrize(
    ("driver", "runtime", "devices", "words"),
    [
        (0, 13000, 0, "no NVIDIA driver was found"),
        (12040, 13000, 1, "supports CUDA 12.4, but this module needs CUDA 13.0: install driver 580 or newer"),
        (11080, 12090, 1, "needs CUDA 12.0: install driver 525 or newer"),
        (12020, 12090, 1, ""),
        (13000, 13000, 0, "shows no device"),
        (13020, 13000, 1, ""),
    ],
)
def test_reasons(driver: int, runtime: int, devices: int, words: str) -> None:
    reason = _cuda.reason_of(driver, runtime, devices)
    assert words in reason
    assert bool(words) == bool(reason)


def test_the_version_is_that_of_the_package() -> None:
    import dmth_fast

    assert _cuda.__version__ == dmth_fast.__version__


def test_a_build_without_the_module_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import dmth_fast

    monkeypatch.setitem(sys.modules, "dmth_fast._cuda", None)
    monkeypatch.delattr(dmth_fast, "_cuda", raising=False)
    assert native.cuda_available().reason == "this build of dmth_fast has no CUDA module"
    with pytest.raises(RuntimeError, match="no CUDA module"):
        native.cuda()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c, q: cuda.search(c.float(), q, 1), TypeError, "codes must be uint8"),
        (lambda c, q: cuda.search(c[0], q, 1), ValueError, "codes must be uint8 of shape"),
        (lambda c, q: cuda.search(c, q[:, :1], 1), ValueError, "queries must have the 2 bytes"),
        (lambda c, q: cuda.search(c, q, 0), ValueError, "k must be an integer >= 1"),
        (lambda c, q: cuda.search(c, q, 1, bits=9), ValueError, "zero padding after bit 8"),
        (lambda c, q: cuda.search(c, q, 1, threads=0), ValueError, "threads must be"),
        (lambda c, q: cuda.search(c, q.to("meta"), 1), ValueError, "on one device"),
        (lambda c, q: cuda.range_search(c, q, 17), ValueError, "radius must be an integer from 0 to 16"),
        (lambda c, q: cuda.search_rows(c, q, 1, method="fast"), ValueError, "method must be one of"),
        (lambda c, q: cuda.search_rows(c, q, 1, keep=q[0]), ValueError, "keep must be uint8 of shape"),
        (lambda c, _: cuda.pack(c), TypeError, "values must be float16"),
        (lambda c, _: cuda.pack(c.float(), float("nan")), ValueError, "threshold must be a finite number"),
    ],
)
def test_bad_input_is_refused_before_the_device_is_asked(call, error, message) -> None:
    codes = torch.full((50, 2), 255, dtype=torch.uint8)
    with pytest.raises(error, match=message):
        call(codes, codes[:3])
