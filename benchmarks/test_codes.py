"""Sample codes: as many, as wide and as near to their centres as was asked for."""

import numpy as np
import pytest

from codes import clustered_codes, random_codes


@pytest.mark.parametrize(("bits", "p"), [(64, 0.03), (100, 0.15), (12, 0.4), (7, 0.0)])
def test_clustered_codes_flip_each_bit_with_p(bits: int, p: float) -> None:
    codes, queries = clustered_codes(20_000, bits, 1, p, seed=3, queries=50)
    assert codes.shape == (20_000, (bits + 7) // 8)
    assert queries.shape == (50, (bits + 7) // 8)
    ones = np.unpackbits(codes, axis=1, bitorder="little").mean(axis=0)
    assert not ones[bits:].any()
    flipped = np.minimum(ones, 1 - ones)[:bits]  # whatever the centre's bit is, since p < 1/2
    np.testing.assert_allclose(flipped, p, atol=0.02)


def test_clustered_codes_are_seeded_and_share_centres_equally() -> None:
    sample = clustered_codes(1000, 64, 10, 0.0, seed=1)
    np.testing.assert_array_equal(sample.codes, clustered_codes(1000, 64, 10, 0.0, seed=1).codes)
    centres, count = np.unique(np.concatenate(sample), axis=0, return_counts=True)
    assert len(centres) == 10
    assert set(count) == {110}
    with pytest.raises(ValueError, match="at least 1 centre"):
        clustered_codes(10, 64, 0, 0.1)


def test_random_codes_have_clean_padding() -> None:
    codes = random_codes(1000, 13, seed=2)
    assert codes[:, 1].max() == 31
