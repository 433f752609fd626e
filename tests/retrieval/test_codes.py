"""Packing, unpacking, converting, and what the code checks refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import dmth_fast as df
from dmth_fast.retrieval import reference
from dmth_fast.retrieval.codes import checked_codes

FLOATS = st.sampled_from([np.float16, np.float32, np.float64])
VALUES = FLOATS.flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=40),
        elements=st.sampled_from([-1.5, -0.0, 0.0, 0.25, 2]),
    )
)


@given(VALUES, st.sampled_from([-1.5, 0.0, 0.2, 0.25]))
def test_pack_is_the_reference(values, threshold):
    np.testing.assert_array_equal(df.pack(values, threshold), reference.pack(values, threshold))


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=70)))
def test_unpack_inverts_pack(values):
    np.testing.assert_array_equal(df.unpack(df.pack(values), values.shape[1]), values)


def test_pack_takes_strided_values_and_infinities():
    values = np.array([[np.inf, 1.0, -np.inf, -1.0], [-1.0, 1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(df.pack(values[:, ::2]), [[1], [2]])


def test_pack_names_the_place_of_nan():
    values = np.zeros((3, 5), np.float32)
    values[1, 4] = np.nan
    with pytest.raises(ValueError, match=r"row 1.*column 4"):
        df.pack(values)


@pytest.mark.parametrize(
    "values",
    [np.zeros((2, 3), np.int8), np.zeros((2, 3), ">f4"), np.zeros((2, 3), np.complex64), [[0.5]], None],
)
def test_pack_refuses_other_types(values):
    with pytest.raises(TypeError, match="values must be"):
        df.pack(values)


@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 3), (2, 0), (1, 4097)])
def test_pack_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="values must have shape"):
        df.pack(np.zeros(shape))


@pytest.mark.parametrize("values", [np.ma.array([[0.5, 1.0]], mask=[[0, 1]]), np.ma.array([[0.5]])])
def test_pack_refuses_masked_values(values):
    with pytest.raises(TypeError, match="values must be a NumPy array or a torch tensor, got masked float64"):
        df.pack(values)


@pytest.mark.parametrize("threshold", [np.nan, np.inf])
def test_pack_refuses_a_threshold_that_is_no_number(threshold):
    with pytest.raises(ValueError, match="threshold must be"):
        df.pack(np.zeros((1, 2)), threshold)


@pytest.mark.parametrize("threshold", ["0", True, np.True_, 1j, np.complex64(1 + 2j), None])
def test_a_threshold_of_another_type_is_a_type_error(threshold):
    with pytest.raises(TypeError, match="threshold must be a finite real number, got"):
        df.pack(np.zeros((1, 2)), threshold)


@pytest.mark.parametrize("threshold", [10**400, -(10**400)])
def test_a_threshold_beyond_float64(threshold):
    with pytest.raises(ValueError, match="threshold must be within the range of float64"):
        df.pack(np.zeros((1, 2)), threshold)


@pytest.mark.parametrize("threshold", [1, np.int8(1), np.float16(1)])
def test_a_threshold_of_any_real_type(threshold):
    np.testing.assert_array_equal(df.pack(np.array([[0.5, 1.5]]), threshold), [[2]])


@pytest.mark.parametrize(
    "codes",
    [
        np.zeros((3, 8), np.float32),
        np.zeros((3, 8), bool),
        np.zeros((3, 8), np.int8),
        np.zeros((3, 1), ">u8"),
        np.ma.zeros((3, 8), np.uint8),
        [[1, 2]],
    ],
)
def test_codes_of_another_dtype_are_a_type_error(codes):
    with pytest.raises(TypeError, match="codes must be uint8 of shape"):
        checked_codes(codes, "codes", 64)


@pytest.mark.parametrize("shape", [(), (8,), (1, 2, 8), (3, 7), (3, 9), (3, 0)])
def test_codes_of_another_shape_are_a_value_error(shape):
    with pytest.raises(
        ValueError, match=r"codes must be uint8 of shape \(n, 8\) for 64 bits, got uint8 of shape"
    ):
        checked_codes(np.zeros(shape, np.uint8), "codes", 64)


def test_dirty_padding_is_refused_when_bits_are_given():
    codes = np.array([[0b0001], [0b10001]], np.uint8)
    with pytest.raises(ValueError, match=r"codes must have zero padding after bit 3, got 1 row.* row 1"):
        checked_codes(codes, "codes", 4)
    np.testing.assert_array_equal(checked_codes(codes, "codes"), codes)


@pytest.mark.parametrize("bits", [0, -8, 4097])
def test_bits_out_of_range(bits):
    with pytest.raises(ValueError, match="bits must be an integer from 1 to 4096"):
        df.unpack(np.zeros((1, 1), np.uint8), bits)


@given(st.integers(0, 2**32 - 1), st.integers(1, 130))
def test_every_layout_converts_to_the_same_codes(seed, bits):
    zeros_ones = np.random.default_rng(seed).integers(0, 2, (3, bits))
    expected = df.pack(zeros_ones.astype(bool))
    padded = np.zeros((3, -(-bits // 64) * 8), np.uint8)
    padded[:, : expected.shape[1]] = expected
    big = np.packbits(zeros_ones, axis=1)
    for source, values in {
        "bits": zeros_ones,
        "signs": 2 * zeros_ones.astype(np.int8) - 1,
        "bytes-little": expected,
        "bytes-big": big,
        "int8-big": (big.astype(np.int16) - 128).astype(np.int8),
        "uint64-little": padded.view("<u8").astype(np.uint64),
    }.items():
        np.testing.assert_array_equal(df.convert_codes(values, source=source, bits=bits), expected, source)
        if bits % 64 == 0:
            np.testing.assert_array_equal(df.convert_codes(values, source=source), expected, source)


@pytest.mark.parametrize(
    ("values", "source", "bits", "error", "message"),
    [
        (np.array([[0, 2]]), "bits", None, ValueError, "only 0 and 1.*got 2 in row 0, column 1"),
        (np.array([[1, 0]]), "signs", None, ValueError, "only -1 and 1.*got 0 in row 0, column 1"),
        (np.array([[1.0, np.nan]]), "bits", None, ValueError, "only 0 and 1.*got nan"),
        (np.array([[1, 1]]), "bits", 3, ValueError, "values must have 3 columns"),
        (np.array([[1, 1]], np.uint8), "int8-big", None, TypeError, "values must be int8"),
        (np.array([[1]], np.int64), "uint64-little", None, TypeError, "values must be uint64"),
        (np.array([[1]], ">u8"), "uint64-little", None, TypeError, "got big-endian uint64"),
        (np.array([[1]], np.uint8), "bytes-big", 9, ValueError, "values must have 2 bytes for 9 bits"),
        (np.array([[1]], np.uint8), "bytes-big", 4, ValueError, "zero padding after bit 3"),
        (np.array([[2**9]], np.uint64), "uint64-little", 8, ValueError, "no bit set after bit 7.*row 0"),
        (np.array([1], np.uint8), "bytes-big", None, ValueError, r"values must have shape \(n, columns\)"),
        (np.array([[1]], np.uint8), "hex", None, ValueError, "source must be one of 'bits'"),
    ],
)
def test_convert_codes_refuses(values, source, bits, error, message):
    with pytest.raises(error, match=message):
        df.convert_codes(values, source=source, bits=bits)
