"""An index that threads search while others change it: whole changes, right ids, no lock held for ever."""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import dmth_fast as df
from dmth_fast.retrieval import reference

Array = NDArray[Any]
BATCH, BATCHES = 40, 48


def codes_of(ids: Array) -> Array:
    """A code of 64 bits for each id."""
    mixed = (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed ^ (mixed >> np.uint64(29))).view(np.uint8).reshape(-1, 8)


QUERIES = codes_of(np.array([3, 1_000_000]))


def of_batch(batch: int) -> Array:
    """The first five batches are row numbers, the others lie among each other, and some come late."""
    if batch < 5:
        return np.arange(BATCH) + batch * BATCH
    return np.arange(BATCH) * 1000 + 1000 + (batch if batch % 3 else 500 - batch)


class Log:
    """Batches by what has happened to them: what a search must have seen, and may have."""

    def __init__(self) -> None:
        self.added, self.leaving, self.removed = set[int](), set[int](), set[int]()


def check(ids: Array, distances: Array, must: set[int], must_not: set[int]) -> None:
    """The answer to the first query is whole batches, in order, with the ids' own distances."""
    np.testing.assert_array_equal(distances, reference.hamming_distances(codes_of(ids), QUERIES[:1])[0])
    np.testing.assert_array_equal(np.lexsort((ids, distances)), np.arange(len(ids)))
    seen = {batch for batch in range(BATCHES) if np.isin(of_batch(batch), ids).any()}
    assert sum(len(of_batch(batch)) for batch in seen) == len(ids)
    assert must <= seen
    assert not must_not & seen


@pytest.mark.parametrize("method", ["scan", "mih"])
def test_threads_search_while_others_add_and_remove(method: str) -> None:
    index, log = df.Index(64, method), Log()
    failures: list[BaseException] = []
    searched, done = threading.Semaphore(0), threading.Event()

    def look() -> None:
        try:
            last = False
            while not last:
                last = done.is_set()
                for search in (whole, within):
                    must_not, must = set(log.removed), set(log.added)
                    answer = search()
                    check(*answer, must - log.leaving, must_not)
                one_batch(log.added - log.leaving)
                searched.release()
        except BaseException as error:
            failures.append(error)

    def whole() -> tuple[Array, Array]:
        found = index.search(QUERIES, 10_000, threads=1)
        return found.ids[0], found.distances[0]

    def within() -> tuple[Array, Array]:
        found = index.range_search(QUERIES[:1], 64, threads=1)
        return found.ids, found.distances

    def one_batch(there: set[int]) -> None:
        for batch in sorted(there)[:1]:
            try:
                found = index.search(QUERIES, 99, filter=of_batch(batch))
                np.testing.assert_array_equal(index.rows(of_batch(batch)), codes_of(of_batch(batch)))
            except KeyError:
                assert batch in log.leaving
                continue
            np.testing.assert_array_equal(np.sort(found.ids[1]), of_batch(batch))

    def change(mine: list[int]) -> None:
        try:
            for n, batch in enumerate(mine):
                while not searched.acquire(timeout=0.1) and not failures:
                    pass  # changes and searches take turns, and overlap
                index.add(codes_of(of_batch(batch)), of_batch(batch))
                log.added.add(batch)
                if n % 4 == 3:
                    gone = mine[n - 2]
                    log.leaving.add(gone)
                    index.remove(of_batch(gone))
                    log.removed.add(gone)
        except BaseException as error:
            failures.append(error)

    lookers = [threading.Thread(target=look) for _ in range(3)]
    changers = [threading.Thread(target=change, args=([*range(i, BATCHES, 2)],)) for i in range(2)]
    for thread in (*lookers, *changers):
        thread.start()
    for thread in changers:
        thread.join()
    done.set()
    for thread in lookers:
        thread.join()
    if failures:
        raise failures[0]
    left = np.sort(np.concatenate([of_batch(b) for b in log.added - log.removed]))
    np.testing.assert_array_equal(index.ids, left)
    np.testing.assert_array_equal(index.rows(), codes_of(left))


def test_threads_that_add_get_ids_of_their_own() -> None:
    index = df.Index(16)
    got: dict[int, list[Array]] = {0: [], 1: [], 2: []}

    def add(mine: int) -> None:
        for step in range(50):
            ids = None if step % 2 else np.arange(5) + 10_000 * (step + 1) + 1000 * mine
            got[mine].append(index.add(np.full((5, 2), mine, np.uint8), ids))
            if step % 10 == 9:
                index.remove(got[mine].pop(0))

    threads = [threading.Thread(target=add, args=(mine,)) for mine in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = np.concatenate([ids for parts in got.values() for ids in parts])
    np.testing.assert_array_equal(np.sort(every), index.ids)
    for mine, parts in got.items():
        assert (index.rows(np.concatenate(parts)) == mine).all()


class Meddler:
    """A store in whose calls something else happens, as another thread could do it."""

    def __init__(self, index: df.Index, happens: Callable[[str], object]) -> None:
        self.store, self.happens = index._rows._generation.store, happens
        index._rows._generation.store = self  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self.store)

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if name != "add":
                self.happens(name)
            found = getattr(self.store, name)(*arguments, **options)
            if name == "add":
                self.happens(name)
            return found

        return call


def test_a_row_that_can_be_found_has_its_id() -> None:
    codes = np.array([[0], [1], [3]], np.uint8)
    index, found = df.Index(8), list[Any]()
    index.add(codes)
    Meddler(index, lambda name: name == "add" and found.append(index.search(codes[:1], 9).ids.tolist()))
    index.add(codes[:1], np.array([70]))
    index.add(codes[:1], np.array([80]))
    assert found == [[[0, 70, 1, 2]], [[0, 70, 80, 1, 2]]]


@pytest.mark.parametrize(
    ("added", "seen"),
    [([5], [5]), ([3, 7], [3, 7]), ([4, 1, 50], [4]), ([1], []), ([1, 50], [])],  # 1 waits, and all after it
)
@pytest.mark.parametrize("chosen", [None, np.ones(2, bool), np.array([0, 2])])
def test_rows_added_under_a_search_have_their_ids_or_are_not_seen(
    added: list[int], seen: list[int], chosen: Array | None
) -> None:
    codes = np.array([[0], [1], [3]], np.uint8)
    index, calls = df.Index(8), list[str]()
    index.add(codes)
    index.remove(np.array([1]))

    def meddle(name: str) -> None:
        calls.append(name)
        if calls == ["search"]:
            for i in added:
                index.add(codes[:1], np.array([i]))

    Meddler(index, meddle)
    found = index.search(codes[:1], 9, filter=chosen)
    assert found.ids.tolist() == [[0, *seen, 2] if chosen is None else [0, 2]]
    assert index.search(codes[:1], 9).ids.tolist() == [[0, *sorted(added), 2]]
    assert index.ids.tolist() == sorted([0, 2, *added])


def test_its_own_thread_is_told_and_not_stopped_for_ever() -> None:
    """As a signal handler would ask while its thread changes the index."""
    index, codes = df.Index(8), np.zeros((2, 1), np.uint8)
    index.add(codes, np.array([4, 7]))
    told: list[str] = []

    def handler(name: str) -> None:
        if name != "add":
            return
        assert index.search(codes[:1], 1).ids.tolist() == [[4]]
        with pytest.raises(RuntimeError, match="that its own thread is changing"):
            index.add(codes)
        told.append(name)

    Meddler(index, handler)
    index.add(codes)
    assert told == ["add"]
    assert index.add(codes, np.array([1, 2])).tolist() == [1, 2]
    assert index.search(codes, 1).ids.tolist() == [[1], [1]]


def test_a_handler_does_not_wait_for_who_waits_for_its_search() -> None:
    """Another thread that changes the index waits for a search that a signal handler has interrupted."""
    index, codes = df.Index(8), np.zeros((2, 1), np.uint8)
    index.add(codes)
    held, done = threading.Event(), threading.Event()

    def change() -> None:
        with index._rows._lock:
            held.set()
            done.wait()

    other = threading.Thread(target=change)

    def handler(_: str) -> None:
        other.start()
        held.wait()
        for meddling in (lambda: index.add(codes), lambda: index.remove(np.array([0]))):
            with pytest.raises(RuntimeError, match="that its own thread is searching"):
                meddling()
        done.set()

    Meddler(index, handler)
    assert index.search(codes, 1).ids.tolist() == [[0], [0]]
    other.join()
    assert index._rows.reading.depth == 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # an interrupt in a finaliser
def test_an_interrupt_leaves_the_index_to_others() -> None:
    """Wherever it comes; and while its traceback lives, as that of the last error does in a prompt."""
    index, codes, armed = df.Index(64), codes_of(np.arange(3)), threading.Event()

    def interrupt(*_: object) -> None:
        if armed.is_set():
            raise KeyboardInterrupt

    def interrupted(turn: int) -> KeyboardInterrupt:
        # Again and again: an interrupt where Python cannot raise it, as in a finaliser, is lost.
        signal.setitimer(signal.ITIMER_REAL, 1e-4 + turn % 50 * 1e-6, 0.02)
        armed.set()
        try:
            while True:
                index.add(codes)
        except KeyboardInterrupt as error:
            armed.clear()
            return error

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        kept = [interrupted(turn) for turn in range(400)]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(kept) == 400
    count, added = len(index), list[Any]()
    other = threading.Thread(target=lambda: added.append(index.add(codes)))
    other.start()
    other.join(timeout=20)
    assert len(added) == 1
    assert len(index) == count + 3
    np.testing.assert_array_equal(index.rows(), np.tile(codes, (len(index) // 3, 1)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_can_change_an_index_that_its_parent_was_changing() -> None:
    index, stop = df.Index(64), threading.Event()
    index.add(codes_of(np.arange(20_000) * 100), np.arange(20_000) * 100)

    def keep_changing() -> None:
        batch = 0
        while not stop.is_set():
            batch += 1
            ids = np.arange(5000) * 100 + batch % 97 + 1
            index.add(codes_of(ids), ids)
            index.search(QUERIES, 1, threads=2)
            index.remove(ids)

    worker = threading.Thread(target=keep_changing)
    worker.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                ids = index.add(codes_of(np.arange(3) + 99_000_000), np.arange(3) + 99_000_000)
                late = index.add(codes_of(np.array([98])), np.array([98]))
                found = index.search(codes_of(np.array([98, *ids])), 1, threads=2)
                fine = found.ids[:, 0].tolist() == [*late, *ids] and not found.distances.any()
                fine = fine and np.array_equal(index.rows(), codes_of(index.ids))
                os._exit(0 if fine and len(index) in (20_004, 25_004) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        worker.join()
