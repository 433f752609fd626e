"""The torch ops: tensors in, tensors out, shapes known to the compiler, clear refusals."""

import numpy as np
import pytest
import torch
from samples import random_codes

import dmth_fast as df
from dmth_fast.retrieval import evaluation, ops

RNG = np.random.default_rng(0)
CODES = torch.from_numpy(random_codes(RNG, 50, 12))
QUERIES = torch.from_numpy(random_codes(RNG, 4, 12))
VALUES = torch.from_numpy(RNG.standard_normal((6, 12)))
LABELS = torch.from_numpy(RNG.integers(0, 3, 50))
ARGUMENTS = {
    "pack": (VALUES, 0.25),
    "search": (CODES, QUERIES, 7, 12, 1),
    "range_search": (CODES, QUERIES, 4, 12, None),
    "hamming_distances": (CODES, QUERIES),
    "average_precision": (QUERIES, LABELS[:4], CODES, LABELS, 10, "expected", "min", 12, None),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_opcheck(name):
    torch.library.opcheck(getattr(torch.ops.dmth_fast, name).default, ARGUMENTS[name])


@pytest.mark.parametrize("k", [7, 70])
def test_search_is_that_of_arrays(k):
    found = df.search(CODES, QUERIES, k, bits=12)
    assert isinstance(found.ids, torch.Tensor)
    for part, expected in zip(found, df.search(CODES.numpy(), QUERIES.numpy(), k, bits=12), strict=True):
        np.testing.assert_array_equal(part.numpy(), expected)


def test_the_other_verbs_are_those_of_arrays():
    numpy_codes, numpy_queries = CODES.numpy(), QUERIES.numpy()
    for part, expected in zip(
        df.range_search(CODES, QUERIES, 4), df.range_search(numpy_codes, numpy_queries, 4), strict=True
    ):
        np.testing.assert_array_equal(part.numpy(), expected)
    np.testing.assert_array_equal(
        df.hamming_distances(CODES, QUERIES).numpy(), df.hamming_distances(numpy_codes, numpy_queries)
    )
    np.testing.assert_array_equal(df.pack(VALUES, 0.1).numpy(), df.pack(VALUES.numpy(), 0.1))
    np.testing.assert_array_equal(df.unpack(CODES, 12).numpy(), df.unpack(numpy_codes, 12))
    np.testing.assert_array_equal(
        df.convert_codes(CODES, source="bytes-little", bits=12).numpy(), numpy_codes
    )
    np.testing.assert_array_equal(
        ops.average_precision(QUERIES, LABELS[:4], CODES, LABELS, None, "stable").numpy(),
        evaluation.average_precision(
            numpy_queries, LABELS[:4].numpy(), numpy_codes, LABELS.numpy(), ties="stable"
        ),
    )
    tensors = df.evaluate(QUERIES, LABELS[:4], CODES, LABELS)
    arrays = df.evaluate(numpy_queries, LABELS[:4].numpy(), numpy_codes, LABELS.numpy())
    assert tensors.to_json() == arrays.to_json()


def test_index_takes_tensors():
    index = df.Index(12)
    index.add(CODES)
    assert torch.equal(index.search(QUERIES, 5).ids, df.search(CODES, QUERIES, 5).ids)
    assert isinstance(index.range_search(QUERIES, 2).offsets, torch.Tensor)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.bool])
def test_pack_of_every_real_dtype(dtype):
    expected = df.pack(VALUES.to(dtype).double().numpy())
    np.testing.assert_array_equal(df.pack(VALUES.to(dtype)).numpy(), expected)


def test_pack_of_values_with_gradients():
    assert not df.pack(VALUES.clone().requires_grad_()).requires_grad


@pytest.mark.parametrize(
    "call",
    [
        lambda codes: df.search(codes, QUERIES, 1),
        lambda codes: df.range_search(CODES, codes, 1),
        lambda codes: df.hamming_distances(codes, codes),
        lambda codes: ops.average_precision(codes, LABELS, CODES, LABELS),
        lambda codes: df.evaluate(CODES, codes[:, 0], CODES, LABELS),
    ],
)
def test_floats_with_gradients_are_the_type_error_of_floats(call):
    with pytest.raises(TypeError, match="got float32 of shape"):
        call(CODES.float().requires_grad_())


WIDE = torch.zeros((4, 3), dtype=torch.uint8)
REFUSED = [
    ("pack", (VALUES.int(),), TypeError, "values must be"),
    ("pack", (VALUES[0],), ValueError, "values must have shape|values must be"),
    ("pack", (VALUES[:, :0],), ValueError, "values must"),
    ("pack", (torch.zeros(1, 4097),), ValueError, "values must"),
    ("search", (CODES.float(), QUERIES, 1), TypeError, "codes must be uint8"),
    ("search", (CODES, QUERIES[0], 1), ValueError, "queries must be uint8 of shape"),
    ("search", (CODES, WIDE, 1), ValueError, "queries must have the"),
    ("search", (CODES, QUERIES, 1, 20), ValueError, r"codes must be uint8 of shape \(n, 3\)"),
    ("search", (CODES, QUERIES, 0), ValueError, "k must be an integer >= 1, got 0"),
    ("range_search", (CODES, QUERIES.int(), 1), TypeError, "queries must be uint8"),
    ("range_search", (CODES, WIDE, 1), ValueError, "queries must have the"),
    ("range_search", (CODES, QUERIES, -1), ValueError, "radius must be an integer"),
    ("hamming_distances", (CODES[:, :0], QUERIES), ValueError, "codes must be uint8"),
    (
        "hamming_distances",
        (torch.zeros((2, 513), dtype=torch.uint8), WIDE),
        ValueError,
        "codes must be uint8",
    ),
    ("average_precision", (QUERIES, LABELS[:4], WIDE, LABELS[:4]), ValueError, "query_codes must have the"),
    ("average_precision", (QUERIES, LABELS, CODES, LABELS), ValueError, "query_labels must"),
    ("average_precision", (CODES, LABELS, CODES, LABELS.float()), TypeError, "database_labels must be"),
]


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("name", "given", "error", "message"), REFUSED)
def test_shape_functions_refuse_what_the_ops_refuse(device, name, given, error, message):
    moved = [part.to(device) if isinstance(part, torch.Tensor) else part for part in given]
    with pytest.raises(error, match=message):
        getattr(torch.ops.dmth_fast, name)(*moved)


def test_strided_tensors():
    assert torch.equal(df.search(CODES[::2], QUERIES, 5).ids, df.search(CODES[::2].clone(), QUERIES, 5).ids)
    assert torch.equal(df.pack(VALUES.T), df.pack(VALUES.T.contiguous()))


@pytest.mark.filterwarnings("default")  # what the compiler warns of is its own
def test_compile_whole_graph():
    def nearest(values, codes):
        found = df.search(codes, df.pack(values), 3)
        return found.ids[:, 0] + 1, found.distances.float().mean(dim=1)

    compiled = torch.compile(nearest, fullgraph=True, backend="aot_eager")
    for ours, theirs in zip(compiled(VALUES, CODES), nearest(VALUES, CODES), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.filterwarnings("default")
def test_compile_with_a_size_known_only_when_run():
    def within(codes, queries):
        return torch.ops.dmth_fast.range_search(codes, queries, 3)[2] * 2

    compiled = torch.compile(within, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(CODES, QUERIES), within(CODES, QUERIES))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("dynamic", [None, True])
def test_compile_refuses_wrong_codes(dynamic):
    compiled = torch.compile(
        lambda codes, queries, k: df.search(codes, queries, k).ids,
        fullgraph=True,
        backend="aot_eager",
        dynamic=dynamic,
    )
    assert torch.equal(compiled(CODES, QUERIES, 3), df.search(CODES, QUERIES, 3).ids)
    with pytest.raises(Exception, match="queries must have the bytes a row of codes"):
        compiled(CODES, WIDE, 3)
    with pytest.raises(Exception, match="codes must be uint8"):
        compiled(CODES.float(), QUERIES, 3)


@pytest.mark.filterwarnings("default")
def test_compile_with_as_many_rows_as_it_finds():
    """The number of rows is known only when it is computed, the checks are those of the rest."""

    def nearest(values, codes):
        return df.search(codes, df.pack(values[values[:, 0] > 0]), 3).ids * 2

    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(nearest, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(VALUES, CODES), nearest(VALUES, CODES))


def test_arrays_mixed_with_tensors():
    with pytest.raises(TypeError, match="codes is a tensor, queries is a NumPy array"):
        df.search(CODES, QUERIES.numpy(), 1)
    with pytest.raises(TypeError, match="database_labels is a NumPy array"):
        df.evaluate(QUERIES, LABELS[:4], CODES, LABELS.numpy())


def test_tensors_on_two_devices():
    with pytest.raises(ValueError, match="on one device, got codes on cpu, queries on meta"):
        df.search(CODES, QUERIES.to("meta"), 1)


def test_labels_must_be_on_the_cpu():
    with pytest.raises(ValueError, match="must be on the CPU, got a tensor on meta"):
        df.unpack(CODES.to("meta"), 12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: df.search(CODES.float(), QUERIES, 1), TypeError, "codes must be uint8"),
        (lambda: df.search(CODES, QUERIES[:, :1], 1), ValueError, "queries must have the 2 bytes"),
        (lambda: df.search(CODES, QUERIES, 0), ValueError, "k must be an integer >= 1"),
        (lambda: df.search(CODES, QUERIES, 1.5), TypeError, "k must be an integer >= 1, got float"),
        (lambda: df.search(CODES, QUERIES, True), TypeError, "k must be an integer >= 1, got bool"),
        (lambda: df.search(CODES, QUERIES, 1, bits="12"), TypeError, "bits must be an integer"),
        (lambda: df.hamming_distances(CODES, QUERIES, threads=0), ValueError, "threads must be"),
        (lambda: df.range_search(CODES, QUERIES, 1.0), TypeError, "radius must be an integer"),
        (lambda: df.range_search(CODES, QUERIES, -1), ValueError, "radius must be an integer"),
        (lambda: df.pack(VALUES, "0"), TypeError, "threshold must be"),
        (lambda: df.pack(VALUES, np.nan), ValueError, "threshold must be"),
        (lambda: df.search(CODES, QUERIES, 1, bits=9), ValueError, "zero padding"),
        (lambda: df.range_search(CODES, QUERIES, 17), ValueError, "radius must be an integer from 0 to 16"),
        (lambda: df.pack(VALUES.int()), TypeError, "values must be float16"),
        (lambda: df.pack(torch.tensor([[0.0, torch.nan]])), ValueError, "NaN"),
        (lambda: df.pack(VALUES[0]), ValueError, r"values must have shape \(n, bits\)"),
        (
            lambda: ops.average_precision(QUERIES, LABELS, CODES, LABELS),
            ValueError,
            "query_labels must have shape",
        ),
    ],
)
def test_bad_tensors_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
