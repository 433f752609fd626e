"""Who only searches pays for NumPy alone."""

import subprocess
import sys

HEAVY = ("torch", "torchvision", "typer", "rich", "matplotlib", "accelerate", "PIL")


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_import_and_search_leave_heavy_modules_out():
    program = (
        "import sys, dmth_fast, numpy\n"
        "codes = numpy.zeros((2, 1), numpy.uint8)\n"
        "dmth_fast.search(codes, codes, 1)\n"
        "dmth_fast.evaluate(codes, numpy.zeros(2, int), codes, numpy.zeros(2, int))\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert run(program).strip() == "[]"


def test_an_index_that_is_saved_and_opened_leaves_heavy_modules_out(tmp_path):
    path = str(tmp_path / "i.safetensors")
    program = (
        "import sys, dmth_fast, numpy\n"
        "index = dmth_fast.Index(8)\n"
        "index.add(numpy.zeros((2, 1), numpy.uint8), numpy.array([5, 3]))\n"
        f"index.save({path!r})\n"
        f"index = dmth_fast.Index.open({path!r}, mmap=True)\n"
        "index.search(numpy.zeros((2, 1), numpy.uint8), 1, filter=index.ids)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert run(program).strip() == "[]"


def test_import_takes_at_most_three_times_numpy():
    clock = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
    ours, numpy = [], []
    for _ in range(5):  # turn and turn about, and the quickest of each: other load hits both
        ours.append(float(run(clock.format("dmth_fast"))))
        numpy.append(float(run(clock.format("numpy"))))
    assert min(ours) <= 3 * min(numpy)
