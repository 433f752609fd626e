"""Intervals cover what they should, differences are paired, baselines are what they claim."""

import numpy as np
import pytest
from samples import random_codes as sample_codes

import dmth_fast as df
from dmth_fast.retrieval.baselines import one_hot_codes, random_codes
from dmth_fast.retrieval.confidence import _student, bootstrap, compare


def test_an_interval_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        interval = bootstrap(rng.exponential(1.0, 150), resamples=300, seed=trial)
        covered += interval.low <= 1.0 <= interval.high
    assert 180 <= covered <= 199


def test_equal_seeds_give_equal_intervals():
    values = np.random.default_rng(1).random(80)
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values) != bootstrap(values, seed=1)
    wide, narrow = bootstrap(values, confidence=0.99), bootstrap(values, confidence=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_seeds_that_disagree_widen_the_interval():
    rng = np.random.default_rng(2)
    same = np.tile(rng.random(300), (5, 1))
    apart = same + np.linspace(-0.2, 0.2, 5)[:, None]
    steady, shaken = bootstrap(same), bootstrap(apart)
    assert steady.num_seeds == 5
    np.testing.assert_allclose(steady.mean, shaken.mean)
    assert shaken.high - shaken.low > 2 * (steady.high - steady.low)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.03, 1.0])
def test_few_seeds_are_covered_too(seeds, spread):
    rng = np.random.default_rng(seeds)
    covered = 0
    for trial in range(200):
        runs = rng.exponential(1.0, 150) + spread * rng.standard_normal((seeds, 1))
        interval = bootstrap(runs + 0.3 * rng.standard_normal(runs.shape), resamples=300, seed=trial)
        covered += interval.low <= 1.0 <= interval.high
    assert covered >= 180


def test_quantiles_of_student():
    for freedom, expected in ((1, 12.706), (2, 4.3027), (4, 2.7764), (29, 2.0452)):
        values = _student(400_001, freedom)
        np.testing.assert_allclose(np.quantile(values, 0.975), expected, rtol=1e-3)
        np.testing.assert_allclose(values, -values[::-1], atol=1e-6 * values[-1])


@pytest.mark.parametrize(
    ("values", "named", "error", "message"),
    [
        (np.arange(3), {}, TypeError, "values must be floating point"),
        (np.zeros(0), {}, ValueError, "not empty"),
        (np.zeros((1, 1, 1)), {}, ValueError, "values must have shape"),
        (np.array([0.0, np.nan]), {}, ValueError, "values must be finite"),
        (np.zeros(3), {"confidence": 1.0}, ValueError, "confidence must be between"),
        (np.zeros(3), {"resamples": 0}, ValueError, "resamples must be"),
    ],
)
def test_bad_values(values, named, error, message):
    with pytest.raises(error, match=message):
        bootstrap(values, **named)


RNG = np.random.default_rng(3)
LABELS, QUERY_LABELS = RNG.integers(0, 4, 300), RNG.integers(0, 4, 60)
CENTRES = RNG.random((4, 24)) < 0.5


def report(noise, seed, **named):
    rng = np.random.default_rng(seed)
    draw = [
        df.pack(CENTRES[labels] ^ (rng.random((len(labels), 24)) < noise))
        for labels in (QUERY_LABELS, LABELS)
    ]
    return df.evaluate(draw[0], QUERY_LABELS, draw[1], LABELS, bits=24, **named)


def test_better_codes_are_above():
    good, bad = report(0.15, 0), report(0.3, 1)
    difference = compare(good, bad)
    assert difference.low > 0
    assert difference.excludes_zero
    np.testing.assert_allclose(difference.mean, good.map - bad.map)
    seeds = compare(
        [report(0.15, s) for s in range(3)], [report(0.3, s + 9) for s in range(3)], metric="r_precision"
    )
    assert seeds.num_seeds == 3
    assert seeds.low > 0


def test_the_interval_of_a_report():
    plain = report(0.2, 0)
    found = plain.interval()
    assert found == bootstrap(plain.average_precision)
    assert found.low < plain.map < found.high
    with pytest.raises(KeyError, match="metric must be one of"):
        plain.interval("accuracy")


def test_equal_codes_are_not_above():
    assert not compare(report(0.2, 0), report(0.2, 1)).excludes_zero


def test_only_like_is_compared_with_like():
    plain = report(0.2, 0)
    with pytest.raises(ValueError, match="one protocol, but top_k is None and 10"):
        compare(plain, report(0.2, 0, top_k=10))
    with pytest.raises(ValueError, match="as many reports, got 1 and 2"):
        compare(plain, [plain, plain])
    codes = sample_codes(RNG, 60, 24)
    with pytest.raises(ValueError, match="same queries and database"):
        compare(plain, df.evaluate(codes, QUERY_LABELS, codes, QUERY_LABELS, bits=24))
    items = sample_codes(RNG, 300, 24)
    with pytest.raises(ValueError, match="their labels differ"):
        compare(plain, df.evaluate(codes, QUERY_LABELS[::-1].copy(), items, LABELS, bits=24))
    with pytest.raises(KeyError, match="metric must be one of"):
        compare(plain, plain, metric="accuracy")


def test_one_hot_codes_score_by_the_classifier_alone():
    predictions = np.array([0, 1, 2, 9, 11])
    codes = one_hot_codes(predictions, 12)
    np.testing.assert_array_equal(df.unpack(codes, 12), np.eye(12, dtype=np.uint8)[predictions])
    perfect = df.evaluate(
        one_hot_codes(QUERY_LABELS, 4), QUERY_LABELS, one_hot_codes(LABELS, 4), LABELS, bits=4
    )
    assert perfect.map == 1.0
    with pytest.raises(ValueError, match="predictions must be below num_classes=4, got 11"):
        one_hot_codes(predictions, 4)


def test_random_codes_reach_the_share_of_the_class():
    codes = random_codes(300, 12, seed=1)
    np.testing.assert_array_equal(codes, random_codes(300, 12, seed=1))
    found = df.evaluate(
        random_codes(60, 12, seed=2), QUERY_LABELS, codes, LABELS, bits=12
    )  # refuses dirty padding
    assert abs(found.map - 0.25) < 0.05
