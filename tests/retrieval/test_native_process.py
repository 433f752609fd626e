"""The engine as a guest in a process: stores, threads, forks, interrupts, huge maps, what it links."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from nativecodes import assert_same, clustered_codes, random_codes

from dmth_fast import _core  # noqa: TID251 - its file is what some tests here are about
from dmth_fast.retrieval import native, reference


@pytest.mark.parametrize(("rows", "bits"), [(0, 64), (1, 8), (700, 24), (1536, 64), (5000, 200)])
def test_store_is_its_rows(rows: int, bits: int, isa: str) -> None:
    rng = np.random.default_rng(rows)
    codes, queries = clustered_codes(rng, rows, bits, 4, 0.2), random_codes(rng, 20, bits)
    store = native.Store(codes.shape[1])
    cuts = np.sort(rng.integers(0, rows + 1, 6))
    for part in np.split(codes, cuts):
        store.add(np.ascontiguousarray(part), threads=2, isa=isa)
    assert len(store) == rows
    np.testing.assert_array_equal(store.rows(np.arange(rows)[::-1].copy()), codes[::-1])
    for count in (1, 20):
        asked = queries[:count]
        for k in (1, 30, rows + 1):
            assert_same(store.search(asked, k, threads=2, isa=isa), reference.search(codes, asked, k), isa)
        radius = bits * 2 // 5
        expected = reference.range_search(codes, asked, radius)
        assert_same(store.range_search(asked, radius, threads=2, isa=isa), expected, isa)
        assert_same(store.range_count(asked, radius, threads=2, isa=isa), np.diff(expected[0]), isa)


def test_store_refuses() -> None:
    store = native.Store(2)
    store.add(np.zeros((3, 2), np.uint8))
    for ids in ([3], [-1], [0, 2**40]):
        with pytest.raises(IndexError):
            store.rows(np.array(ids))
    with pytest.raises(ValueError, match="codes must have 2 bytes a row, got 3"):
        store.add(np.zeros((3, 3), np.uint8))
    with pytest.raises(ValueError, match="queries must have 2 bytes a row, got 1"):
        store.search(np.zeros((3, 1), np.uint8), 1)
    for width in (0, 513):
        with pytest.raises(ValueError, match="1 to 512"):
            native.Store(width)


def test_searching_while_adding(isa: str) -> None:
    """A search sees whole adds: every batch is one code repeated, nearer to the query than the last."""
    batch, batches = 300, 40
    store = native.Store(8)
    failures: list[str] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for count in (1, 20):
                distances, ids = store.search(np.zeros((count, 8), np.uint8), batch, threads=2, isa=isa)
                if not distances.size:
                    continue
                if len(set(distances[0].tolist())) != 1 or ids[0, 0] % batch:
                    failures.append(f"{distances[0]} {ids[0]}")
                    return

    workers = [threading.Thread(target=look) for _ in range(8)]
    for worker in workers:
        worker.start()
    for i in range(batches):
        code = np.packbits(np.arange(64) < 64 - i, bitorder="little")
        store.add(np.tile(code, (batch, 1)), threads=2, isa=isa)
    done.set()
    for worker in workers:
        worker.join()
    assert not failures


def test_several_python_threads_at_once(isa: str) -> None:
    rng = np.random.default_rng(1)
    codes, queries = random_codes(rng, 20_000, 64), random_codes(rng, 16, 64)
    expected = native.search(codes, queries, 20, threads=1, isa=isa)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for threads in (1, 2, 3):
                assert_same(native.search(codes, queries, 20, threads=threads, isa=isa), expected, isa)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_has_a_whole_store() -> None:
    """Forks while other threads add and search: the child's store answers, and holds whole adds."""
    batch = 2000
    rng = np.random.default_rng(2)
    codes, queries = random_codes(rng, batch, 64), random_codes(rng, 8, 64)
    store = native.Store(8)
    store.add(codes)
    stop = threading.Event()

    def keep_adding() -> None:
        while not stop.is_set() and len(store) < 400 * batch:
            store.add(codes, threads=2)

    def keep_searching() -> None:
        while not stop.is_set():
            store.search(queries, 3, threads=2)

    workers = [threading.Thread(target=work) for work in (keep_adding, keep_searching, keep_searching)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                rows = len(store)
                whole = rows % batch == 0
                ids = np.arange(rows - batch, rows)
                same = np.array_equal(store.rows(ids), codes)
                found = store.search(codes[:8], 1, threads=2)
                store.add(codes, threads=2)
                fine = whole and same and not found[0].any() and len(store) == rows + batch
                os._exit(0 if fine else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        for worker in workers:
            worker.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_makes_tables_that_its_parent_was_making() -> None:
    """Forks while another thread builds: the child's build waits for nobody, and both answer alike."""
    rng = np.random.default_rng(3)
    codes, queries = random_codes(rng, 400_000, 64), random_codes(rng, 4, 64)
    expected = native.search(codes, queries, 5)
    for _ in range(3):
        store = native.Store(8)
        store.add(codes)
        builder = threading.Thread(target=lambda store=store: store.build(threads=2))
        builder.start()
        time.sleep(0.02)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            store.build(threads=2)
            got = store.search(queries, 5, method="mih", threads=2)
            fine = all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))
            os._exit(0 if fine else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        builder.join()
        got = store.search(queries, 5, method="mih", threads=2)
        assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_works() -> None:
    rng = np.random.default_rng(1)
    codes, queries = random_codes(rng, 50_000, 64), random_codes(rng, 20, 64)
    expected = native.search(codes, queries, 5, threads=3)
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            native.search(codes, queries, 5, threads=3)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        for _ in range(3):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    signal.alarm(20)
                    got = native.search(codes, queries, 5, threads=3)
                    code = 0 if all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True)) else 2
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        busy.join()


def test_more_rows_than_32_bits_count() -> None:
    """Untouched zero pages take no memory: the array is a sparse map of 2 GB."""
    rows = 2**31 + 1500
    codes = np.zeros((rows, 1), np.uint8)
    for row in (5, 2**31 - 1, 2**31, rows - 1):
        codes[row] = 7
    query = np.array([[7]], np.uint8)
    distances, ids = native.search(codes, query, 5)
    assert ids.tolist() == [[5, 2**31 - 1, 2**31, rows - 1, 0]]
    assert distances.tolist() == [[0, 0, 0, 0, 3]]
    offsets, _, ids = native.range_search(codes, query, 1)
    assert offsets.tolist() == [0, 4]
    assert ids[-1] == rows - 1


@pytest.mark.parametrize("verb", ["search", "range_search", "histograms"])
def test_interrupt(verb: str) -> None:
    """Ctrl-C ends a search that would take minutes."""
    interrupted(f"""
import numpy as np
from dmth_fast.retrieval import native
codes = np.zeros((1 << 20, 32), np.uint8)
codes[:, 0] = np.arange(1 << 20)
queries = np.ones((20_000, 32), np.uint8)
labels = np.zeros(1 << 20, np.int64), np.zeros(20_000, np.int64)
arguments = {{"search": (3,), "range_search": (0,), "histograms": (*labels, 256)}}["{verb}"]
print("ready", flush=True)
try:
    native.{verb}(codes, queries, *arguments, threads=1, isa="portable")
except KeyboardInterrupt:
    print("interrupted", flush=True)
""")


def test_interrupt_while_tables_are_made() -> None:
    """Ctrl-C ends it, without tables; the store answers as before, and can make them later."""
    interrupted("""
import numpy as np
from dmth_fast.retrieval import native
codes = np.random.default_rng(0).integers(0, 256, (6_000_000, 8), dtype=np.uint8)
store = native.Store(8)
store.add(codes)
expected = store.search(codes[:2], 3)
memory = store.memory
print("ready", flush=True)
try:
    store.build(threads=1)
except KeyboardInterrupt:
    assert store.memory == memory
    for method in ("scan", "mih"):
        found = store.search(codes[:2], 3, method=method)
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert store.memory > memory
    print("interrupted", flush=True)
""")


PRELUDE = """
import signal, threading, time
import numpy as np
from dmth_fast.retrieval import native

class Stop(Exception):
    pass

def after(seconds, handler):
    signal.signal(signal.SIGALRM, lambda *_: handler())
    signal.setitimer(signal.ITIMER_REAL, seconds)

def stop():
    raise Stop

codes = np.random.default_rng(0).integers(0, 256, (1_000_000, 8), dtype=np.uint8)
"""


def outcome(program: str) -> str:
    """What a program prints that must end well."""
    words = [sys.executable, "-c", PRELUDE + program]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, (ended.returncode, ended.stderr)
    return ended.stdout


def test_ranks_are_not_written_from_the_counts_of_an_interrupted_pass() -> None:
    program = """
labels, queries = np.zeros(len(codes), np.int64), np.zeros(15, np.int64)
codes = np.tile(codes, (1, 8))
after(0.01, stop)
try:
    native.relevant_ranks(codes, codes[:15], labels, queries, threads=12, isa="portable")
except Stop:
    print("stopped")
"""
    assert outcome(program) == "stopped\n"


def test_a_signal_handler_may_search() -> None:
    program = """
store = native.Store(8)
store.add(codes)
def look():
    native.search(codes[:100], codes[:1], 1, threads=1)
    store.search(codes[:1], 1, method="mih")
    print(len(store), "seen")
for search in (lambda: native.search(codes, codes[:4000], 10, threads=1),
               lambda: store.search(codes[:4000], 10, method="scan", threads=1)):
    after(0.1, look)
    distances, _ = search()
    print(int(distances[:, 0].max()))
"""
    assert outcome(program) == "1000000 seen\n0\n" * 2


def test_a_signal_handler_cannot_add_to_what_is_searched() -> None:
    program = """
store = native.Store(8)
store.add(codes)
after(0.1, lambda: store.add(codes[:1]))
try:
    store.search(codes[:4000], 10, method="scan", threads=1)
except RuntimeError as error:
    print(error)
store.add(codes[:1])
print(len(store))
"""
    told = "an index cannot grow while the same thread searches it (in a signal handler)\n1000001\n"
    assert outcome(program) == told


def test_the_process_ends_while_a_daemon_thread_searches() -> None:
    program = """
def serve():
    while True:
        native.search(codes, codes[:100], 10, threads=1)
threading.Thread(target=serve, daemon=True).start()
time.sleep(0.2)
print("done")
"""
    assert outcome(program) == "done\n"


def interrupted(program: str) -> None:
    """Start a program, press Ctrl-C once it is ready, and see that it says so."""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[0] == "interrupted\n"
    finally:
        process.kill()
        process.wait()


def dynamic_section(tool: str, *arguments: str) -> str:
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed")
    return subprocess.run(
        [path, *arguments, str(Path(_core.__file__))], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("tool", [["readelf", "-d"], ["ldd"]])
def test_links_neither_torch_nor_openmp(tool: list[str]) -> None:
    libraries = dynamic_section(*tool)
    assert "libc.so" in libraries
    for unwanted in ("torch", "libc10", "gomp", "libomp", "iomp"):
        assert unwanted not in libraries


def test_version() -> None:
    from dmth_fast import __version__

    assert _core.__version__ == __version__
