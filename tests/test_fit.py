"""Fitting: k-means against exact optima, minmax, quantile, and what cannot be fitted."""

from __future__ import annotations

import itertools
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import pysplitcodec.fit
from pysplitcodec import Codebook, errors
from pysplitcodec.native import core

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
moderate = st.floats(-1e6, 1e6, width=32)


def distinct(values: Any) -> np.ndarray:
    return np.unique(np.asarray(values, dtype=np.float32) + np.float32(0))


# ------------------------------------------------------------------ k-means, any number of clusters


def kmeans(values: Any, count: int, weights: Any = None) -> np.ndarray:
    values = np.asarray(values, dtype=np.float32)
    weights = np.ones(values.size) if weights is None else np.asarray(weights)
    centroids = np.empty(count, dtype=np.float32)
    core.fit_kmeans(values, weights.astype(np.uint32), centroids)
    assert np.all(centroids[:-1] < centroids[1:])
    assert not np.any(np.signbit(centroids) & (centroids == 0))
    return centroids


class Exact:
    """Squared errors of runs of values about their means, in rational arithmetic."""

    def __init__(self, values: Any, weights: Any = None) -> None:
        self.values = [Fraction(float(value)) for value in values]
        self.weights = [1] * len(values) if weights is None else [int(w) for w in weights]
        products = [w * x for w, x in zip(self.weights, self.values)]
        squares = [w * x * x for w, x in zip(self.weights, self.values)]
        self.count = [0, *itertools.accumulate(self.weights)]
        self.sum = [Fraction(0), *itertools.accumulate(products)]
        self.square = [Fraction(0), *itertools.accumulate(squares)]

    def error(self, a: int, b: int) -> Fraction:
        total = self.sum[b] - self.sum[a]
        return self.square[b] - self.square[a] - total**2 / (self.count[b] - self.count[a])

    def least(self, most: int) -> list[Fraction]:
        """Least errors of 1 .. `most` runs, by the definition: O(most n^2)."""
        n = len(self.values)
        errors = [
            [self.error(a, b) if b > a else Fraction(0) for b in range(n + 1)] for a in range(n)
        ]
        least = errors[0]
        found = [least[n]]
        for made in range(2, most + 1):
            least = [Fraction(0)] * made + [
                min(least[a] + errors[a][b] for a in range(made - 1, b)) for b in range(made, n + 1)
            ]
            found.append(least[n])
        return found

    def check(self, centroids: np.ndarray, least: Fraction) -> None:
        """Some runs of an error as small as `least` have the centroids for means, rounded."""
        ends = {0: Fraction(0)}
        for centroid in centroids:
            level = Fraction(float(centroid))
            slack = max(abs(level), Fraction(1, 2**126)) / 2**24 * Fraction(10**6 + 1, 10**6)
            reached: dict[int, Fraction] = {}
            for a, before in ends.items():
                for b in range(a + 1, len(self.values) + 1):
                    mean = (self.sum[b] - self.sum[a]) / (self.count[b] - self.count[a])
                    if abs(mean - level) <= slack:
                        error = before + self.error(a, b)
                        reached[b] = min(error, reached.get(b, error))
            ends = reached
        assert len(self.values) in ends, "the centroids are not the means of any runs"
        assert least <= ends[len(self.values)] <= least * (1 + Fraction(1, 10**12))


@given(st.sets(moderate, min_size=1, max_size=9), st.data())
@settings(max_examples=150)
def test_kmeans_against_every_partition(values: set[float], data: st.DataObject) -> None:
    ascending = distinct(sorted(values))
    count = data.draw(st.integers(1, ascending.size))
    exact = Exact(ascending)
    best = min(
        sum(exact.error(a, b) for a, b in zip((0, *cuts), (*cuts, ascending.size)))
        for cuts in itertools.combinations(range(1, ascending.size), count - 1)
    )
    assert best == exact.least(count)[-1]
    exact.check(kmeans(ascending, count), best)


weight = st.one_of(st.integers(1, 3), st.integers(1, 10**6))


@pytest.mark.parametrize(
    "value",
    [
        moderate,
        finite,  # magnitudes from 1e-45 to 3e38 side by side
        st.integers(0, 40),  # ties
        st.integers(1, 60).map(lambda i: i * 2.0**-149),  # denormals
        st.tuples(st.integers(0, 40), st.sampled_from([1, -1, 2.0**25])).map(
            lambda pair: (1 + pair[0] * 2.0**-23) * pair[1]  # adjacent floats
        ),
    ],
    ids=["moderate", "finite", "ties", "denormals", "adjacent"],
)
@given(data=st.data())
@settings(max_examples=60)
def test_kmeans_is_optimal(value: st.SearchStrategy[float], data: st.DataObject) -> None:
    values = distinct(sorted(data.draw(st.sets(value, min_size=2, max_size=24))))
    weights = data.draw(st.lists(weight, min_size=values.size, max_size=values.size))
    count = data.draw(st.integers(1, values.size))
    exact = Exact(values, weights)
    exact.check(kmeans(values, count, weights), exact.least(count)[-1])


@pytest.mark.parametrize("far", [2.0**10, 2.0**25, 2.0**28, 2.0**60, 3e38])
@pytest.mark.parametrize("side", [1, -1])
def test_outliers_cost_no_precision(far: float, side: int) -> None:
    near = np.random.default_rng(5).normal(size=30)
    values = distinct([*near, far * side, 0.9 * far * side])
    exact = Exact(values)
    for count, least in enumerate(exact.least(values.size), 1):
        exact.check(kmeans(values, count), least)


def test_all_magnitudes_at_once() -> None:
    rng = np.random.default_rng(11)
    for spread in (40, 200, 276, 276, 276, 276):
        sizes = np.ldexp(rng.uniform(1, 2, 30), 127 - rng.integers(0, spread, 30))
        values = distinct(sizes * rng.choice([-1, 1], 30))
        weights = rng.integers(1, 10**6, values.size)
        exact = Exact(values, weights)
        for count, least in enumerate(exact.least(values.size), 1):
            exact.check(kmeans(values, count, weights), least)


@pytest.mark.parametrize("before", [False, True])
def test_one_in_a_hundred_million_decides(before: bool) -> None:
    """Of three adjacent floats of nearly equal weight, the two lightest neighbours go together."""
    rng = np.random.default_rng(12)
    for first in rng.integers(0x00800000, 0x7F000000, 40):
        values = np.arange(first, first + 3).astype(np.uint32).view(np.float32)
        m = int(rng.integers(1 << 27, 178_950_000))
        for weights in ([m, m, m - 1], [m - 1, m, m]):
            lighter = 1 if weights[2] < m else 0
            if before:  # a value whose bits lie below those of the others
                values = distinct([*values, values[0] * np.float32(0.00012345)])
                weights = [12345, *weights]
            exact = Exact(values, weights)
            n = values.size
            least = exact.error(n - 3 + lighter, n - 1 + lighter)
            exact.check(kmeans(values, n - 1, weights), least)
            values = values[-3:]


def test_the_mean_between_two_floats() -> None:
    """The error is about the mean, not about the float next to it."""
    values = np.array([0, 1, 10, 11], dtype=np.uint32) + np.float32(1.5).view(np.uint32)
    for weights in ([5, 5, 3, 100], [100, 3, 5, 5]):
        exact = Exact(values.view(np.float32), weights)
        exact.check(kmeans(values.view(np.float32), 3, weights), exact.least(3)[-1])


@pytest.mark.parametrize("off", [1e-9, -1e-9])
def test_a_light_value_between_heavy_clusters(off: float) -> None:
    """What decides is far less than what one cluster fewer would cost."""
    heavy = np.arange(-255, 256, 2)
    values = distinct([*heavy, off])
    weights = np.where(values == np.float32(off), 1, 1 << 20)
    expected = heavy.astype(np.float32)
    nearer = 128 if off > 0 else 127
    expected[nearer] *= np.float32(1 - 2**-20)
    assert kmeans(values, 256, weights).tolist() == expected.tolist()


def even_error(n: int, count: int) -> Fraction:
    """Least error of 0 .. n - 1 in `count` runs: as even as can be."""
    size, more = divmod(n, count)
    errors = [Fraction(m * (m * m - 1), 12) for m in (size, size + 1)]
    return (count - more) * errors[0] + more * errors[1]


@pytest.mark.parametrize("n", [5, 64, 257, 1000, 70_000])
def test_every_number_of_clusters_where_all_prices_tie(n: int) -> None:
    """Of evenly spaced values, many numbers of clusters are best at one and the same price."""
    values = np.arange(n) - n // 3
    for count in range(1, min(n, 256) + 1, 1 if n < 1000 else 51):
        centroids = kmeans(values, count).astype(np.float64)
        nearest = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values)
        assert np.all(centroids * 2 % 1 == 0)  # means of runs: float32 holds them exactly
        found = np.sum((2 * (values - centroids[nearest])).astype(np.int64) ** 2)
        assert Fraction(int(found), 4) == even_error(n, count)


def test_pairs_tie() -> None:
    values = np.sort(np.concatenate([np.arange(40) * 10, np.arange(40) * 10 + 1]))
    exact = Exact(values)
    for count in range(40, 81):
        exact.check(kmeans(values, count), Fraction(80 - count, 2))


@pytest.mark.parametrize("name", ["normal", "heavy tails", "two heaps", "outliers"])
def test_coarse_grid_changes_nothing(name: str) -> None:
    """Enough values for the search to start on a grid, few enough for dynamic programming."""
    rng = np.random.default_rng(6)
    made = {
        "normal": rng.normal(size=2000) * 1e4,
        "heavy tails": np.exp(2 * rng.normal(size=2000)) * 3e3,
        "two heaps": np.concatenate([rng.normal(size=1000), 1e3 + rng.normal(size=1000)]) * 1e3,
        "outliers": np.concatenate([rng.normal(size=1990), 2.0 ** rng.uniform(1, 9, 10)]) * 1e4,
    }
    values, weights = np.unique(np.rint(made[name]).astype(np.int64), return_counts=True)
    assert values.size > 4 * 64 * 5 and np.array_equal(values, values.astype(np.float32))
    # whole numbers: these sums are exact
    mass, total, square = (
        np.concatenate([[0], np.cumsum(weights * values**power)]) for power in (0, 1, 2)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = [
            (square[b] - square[:b])
            - (total[b] - total[:b]).astype(np.longdouble) ** 2 / (mass[b] - mass[:b])
            for b in range(1, values.size + 1)
        ]
    least = np.array([0] + [row[0] for row in errors])
    for count in range(2, 6):
        least = np.array(
            [0] * count
            + [np.min((least[: row.size] + row)[count - 1 :]) for row in errors[count - 1 :]]
        )
        centroids = kmeans(values, count, weights).astype(np.float64)
        cuts = np.searchsorted(values, (centroids[1:] + centroids[:-1]) / 2)
        found = sum(errors[b - 1][a] for a, b in zip([0, *cuts], [*cuts, values.size]))
        assert float(found) == pytest.approx(float(least[-1]), rel=1e-12)


def test_every_value_its_own_cluster() -> None:
    values = np.sort(np.random.default_rng(7).normal(size=256)).astype(np.float32)
    weights = np.arange(1, 257) ** 2
    assert kmeans(values, 256, weights).tobytes() == values.tobytes()
    assert kmeans([-0.0], 1).tolist() == [0]
    assert kmeans([3], 1, [0x1FFFFFFF]).tolist() == [3]
    # a mean that rounds to -0.0, and one that rounds out of its cluster but for the clamp
    assert kmeans([-1e-45, 0], 1, [1, 1000]).tolist() == [0]
    largest = float(np.finfo(np.float32).max)
    assert kmeans([-largest, largest], 1).tolist() == [0]


def test_a_million_values() -> None:
    rng = np.random.default_rng(8)
    feature = np.sort(rng.normal(size=1_000_000)).astype(np.float32)
    for bits in (2, 8):
        book = Codebook.fit(feature, bits)
        ends = np.concatenate([[0], np.searchsorted(feature, book.thresholds, "right"), [10**6]])
        runs = np.diff(np.concatenate([[0], np.cumsum(feature, dtype=np.float64)])[ends])
        np.testing.assert_allclose(book.centroids, runs / np.diff(ends), atol=2e-6)
    error = np.mean((feature - book.dequantize(book.quantize(feature))).astype(np.float64) ** 2)
    # many levels for the normal distribution (Panter and Dite, 1951)
    assert error == pytest.approx(3**0.5 * np.pi / 2 / 256**2, rel=0.05)


@pytest.mark.parametrize(
    ("values", "weights", "count"),
    [
        ([0, 1], [1, 1], 3),
        ([0, 1], [1, 1], 0),
        (range(300), [1] * 300, 257),
        ([], [], 1),
        ([1, 0], [1, 1], 1),
        ([0, 0], [1, 1], 1),
        ([0.0, -0.0], [1, 1], 1),
        ([0, float("inf")], [1, 1], 1),
        ([-float("inf"), 0], [1, 1], 1),
        ([float("nan"), 1], [1, 1], 1),
        ([0, float("nan")], [1, 1], 1),
        ([0, 1], [1, 0], 1),
    ],
)
def test_core_refuses(values: Any, weights: Any, count: int) -> None:
    with pytest.raises(errors.ArgumentError):
        kmeans(np.array(values, dtype=np.float32), count, np.array(weights))


def test_core_refuses_other_arrays() -> None:
    good = np.float32([0, 1]), np.uint32([1, 1]), np.empty(1, dtype=np.float32)
    core.fit_kmeans(*good)
    for at, wrong in ((0, np.float64([0, 1])), (1, np.uint32([1])), (2, np.empty(1))):
        arrays: list[Any] = list(good)
        arrays[at] = wrong
        with pytest.raises(ValueError, match=r"values|weights|centroids"):
            core.fit_kmeans(*arrays)
    with pytest.raises(errors.SplitCodecError):  # more than the products can hold exactly
        core.fit_kmeans(good[0], np.uint32([0x1FFFFFFF, 1]), good[2])


def test_both_bindings_agree() -> None:
    pytest.importorskip("cffi")
    from pysplitcodec import _abi

    values, weights = np.unique(
        np.random.default_rng(9).normal(size=5000).astype(np.float32), return_counts=True
    )
    centroids = np.empty(16, dtype=np.float32)
    _abi.fit_kmeans(values, weights.astype(np.uint32), centroids)
    assert centroids.tobytes() == kmeans(values, 16, weights).tobytes()
    with pytest.raises(ValueError, match="weights"):
        _abi.fit_kmeans(values, weights.astype(np.uint32)[1:], centroids)
    with pytest.raises(errors.ArgumentError):
        _abi.fit_kmeans(values[::-1].copy(), weights.astype(np.uint32), centroids)


# ------------------------------------------------------------------ Codebook.fit


@given(st.lists(finite, min_size=2, max_size=40), st.integers(1, 3))
@example([0, 1, 2, 3, 4, 5, 6, 7, 8, 0.5, -268435456.0], 3)
@settings(max_examples=200)
def test_kmeans_fits_whatever_has_enough_values(values: list[float], bits: int) -> None:
    feature = np.array(values, dtype=np.float32)
    if distinct(feature).size < 1 << bits:
        with pytest.raises(errors.CodebookError, match="distinct"):
            Codebook.fit(feature, bits)
    else:
        assert Codebook.fit(feature, bits).bits == bits


def test_kmeans_finds_separate_groups() -> None:
    rng = np.random.default_rng(1)
    centers = np.array([-40.0, -3, 0, 80])
    feature = (centers[:, None] + rng.uniform(-0.5, 0.5, (4, 50))).astype(np.float32)
    book = Codebook.fit(feature.T.reshape(10, 5, 4), 2)
    means = feature.astype(np.float64).mean(axis=1).astype(np.float32)
    np.testing.assert_allclose(book.centroids, means, rtol=1e-6)


def test_kmeans_weighs_repeats() -> None:
    assert Codebook.fit(np.float32([0] * 99 + [1, 10]), 1).centroids.tolist() == [
        np.float32(0.01),
        10,
    ]


def test_kmeans_of_adjacent_floats() -> None:
    for start in (0x3F800000, 0x7F000000, 0x00000001, 0x4B7FFFF0):
        feature = np.arange(start, start + 40, dtype=np.uint32).view(np.float32)
        book = Codebook.fit(np.concatenate([feature, -feature]), 4)
        assert book.centroids[0] < -feature[0] and book.centroids[-1] > feature[0]


def test_kmeans_of_the_normal_distribution() -> None:
    feature = np.random.default_rng(2).normal(size=1_000_000).astype(np.float32)
    book = Codebook.fit(feature, 2)
    # the known optimum of four levels for the normal distribution (Max, 1960)
    np.testing.assert_allclose(book.centroids, [-1.510, -0.4528, 0.4528, 1.510], atol=0.005)


@pytest.mark.parametrize("method", ["kmeans", "minmax", "quantile"])
def test_fitting_is_deterministic(method: Any) -> None:
    feature = np.random.default_rng(3).normal(size=(20, 30)).astype(np.float32)
    book = Codebook.fit(feature, 4, method)
    assert book == Codebook.fit(feature, 4, method=method)
    shuffled = np.random.default_rng(4).permutation(feature.reshape(-1))
    assert book == Codebook.fit(shuffled, 4, method)
    assert book == Codebook.fit(np.asfortranarray(feature), 4, method)
    assert book == Codebook.fit(feature.astype(">f4"), 4, method)
    assert book == Codebook.fit(feature.tolist(), np.int64(4), method)  # type: ignore[arg-type]


def test_minmax() -> None:
    feature = np.float32([3, -1, 0, 2.5])
    assert Codebook.fit(feature, 2, "minmax").centroids.tolist() == pytest.approx(
        [-1, 1 / 3, 5 / 3, 3]
    )
    book = Codebook.fit(np.arange(256), 8, "minmax")
    assert book.centroids.tolist() == list(range(256))
    assert Codebook.fit([0, 1], 3, "minmax").bits == 3  # as many values as centroids are not needed


@given(st.lists(finite, min_size=2, max_size=20), st.integers(1, 8))
def test_minmax_is_even(values: list[float], bits: int) -> None:
    feature = np.array(values, dtype=np.float32)
    low, high = Fraction(float(feature.min())), Fraction(float(feature.max()))
    count = 1 << bits
    even = [low + (high - low) * i / (count - 1) for i in range(count)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            book = Codebook.fit(feature, bits, "minmax")
        except errors.CodebookError:
            assert distinct([float(value) for value in even]).size < count
            return
    ends = book.centroids[[0, -1]]
    assert ends.tolist() == [float(low), float(high)]
    for found, exact in zip(book.centroids, even):
        # float64 arithmetic, rounded once more to float32
        slack = max(abs(low), abs(high)) * Fraction(1, 2**50) + Fraction(1, 2**149)
        assert abs(Fraction(float(found)) - exact) <= abs(exact) * Fraction(1, 2**24) + slack


def test_minmax_over_the_whole_range() -> None:
    # the difference of the ends is no float32
    largest = float(np.finfo(np.float32).max)
    book = Codebook.fit(np.float32([-largest, 0, largest]), 2, "minmax")
    np.testing.assert_allclose(book.centroids, [-largest, -largest / 3, largest / 3, largest])


def test_quantile() -> None:
    assert Codebook.fit(np.arange(100), 2, "quantile").centroids.tolist() == [12, 37, 62, 87]
    # one value in a hundred places: every centroid still has a value of its own
    relu = np.float32([0] * 97 + [1, 2, 3])
    assert Codebook.fit(relu, 2, "quantile").centroids.tolist() == [0, 1, 2, 3]
    top = np.float32([1, 2, 3] + [4] * 97)
    assert Codebook.fit(top, 2, "quantile").centroids.tolist() == [1, 2, 3, 4]


@given(st.lists(st.integers(0, 12), min_size=2, max_size=60), st.integers(1, 3))
@settings(max_examples=200)
def test_quantile_with_repeats(values: list[int], bits: int) -> None:
    feature, count = np.float32(values), 1 << bits
    if distinct(feature).size < count:
        with pytest.raises(errors.CodebookError, match="distinct"):
            Codebook.fit(feature, bits, "quantile")
        return
    book = Codebook.fit(feature, bits, "quantile")
    assert set(book.centroids.tolist()) <= set(feature.tolist())
    if distinct(feature).size == feature.size:
        # without repeats: the value in the middle of each of the equal parts
        ranks = np.searchsorted(np.sort(feature), book.centroids)
        middles = (np.arange(count) + 0.5) / count * feature.size
        assert np.all(np.abs(ranks + 0.5 - middles) <= 1)


@pytest.mark.parametrize("method", ["kmeans", "quantile"])
def test_too_few_distinct_values(method: Any) -> None:
    for feature in ([1, 1, 1], [0.0, -0.0], [1.0, 1.0 + 1e-9]):
        with pytest.raises(errors.CodebookError, match="1 distinct values: 1 bits need at least 2"):
            Codebook.fit(np.array(feature), 1, method)
    with pytest.raises(errors.CodebookError, match="3 distinct"):
        Codebook.fit([0, 1, 2, 2], 2, method)
    with pytest.raises(errors.CodebookError):
        Codebook.fit([1, 1], 1, "minmax")


@pytest.mark.parametrize("bits", [0, 9, -1, 2.0, "2", None, True, np.float32(2)])
def test_fit_wrong_bits(bits: Any) -> None:
    with pytest.raises(errors.ArgumentError, match="bits"):
        Codebook.fit([0, 1], bits)


@pytest.mark.parametrize("method", ["lloyd", "", None, 1, []])
def test_fit_wrong_method(method: Any) -> None:
    with pytest.raises(errors.ArgumentError, match="method"):
        Codebook.fit([0, 1], 1, method)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ([], "at least one element"),
        (np.empty((0, 5)), "at least one element"),
        ([0, float("nan")], "1 values"),
        ([0, float("inf"), -float("inf")], "2 values"),
        ([0, 1e39], "1 values"),
        ([True, False], "real numbers"),
        ([0, 1j], "real numbers"),
        (["a"], "real numbers"),
        ([[0], [1, 2]], "not an array"),
        (None, "real numbers"),
    ],
)
def test_fit_wrong_feature(feature: Any, message: str) -> None:
    for method in ("kmeans", "minmax", "quantile"):
        with pytest.raises(errors.FeatureError, match=message):
            Codebook.fit(feature, 1, method)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["f2", "f8", "i1", "u1", "i8", "u2", ">f4", ">i2"])
def test_fit_takes_all_real_dtypes(dtype: str) -> None:
    feature = np.array([0, 0, 7, 7], dtype=dtype)
    for method in ("kmeans", "minmax", "quantile"):
        assert Codebook.fit(feature, 1, method).centroids.tolist() == [0, 7]  # type: ignore[arg-type]
    assert feature.dtype == np.dtype(dtype)


def test_fit_takes_16_bit_floats() -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    for dtype in (np.float16, bfloat16):
        feature = np.random.default_rng(10).normal(size=(50, 20)).astype(dtype)
        wide = feature.astype(np.float32)
        for method in ("kmeans", "minmax", "quantile"):
            assert Codebook.fit(feature, 3, method) == Codebook.fit(wide, 3, method)  # type: ignore[arg-type]
    with pytest.raises(errors.FeatureError, match="1 values"):
        Codebook.fit(np.array([0, np.inf], dtype=bfloat16), 1)
    with pytest.raises(errors.FeatureError, match="real numbers"):
        Codebook.fit(np.zeros(4, dtype="V2"), 1)


def test_kmeans_of_too_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pysplitcodec.fit, "_MAX_ELEMENTS", 3)
    with pytest.raises(errors.FeatureError, match="4 values: expected at most 3"):
        Codebook.fit([0, 1, 2, 3], 1)
    assert Codebook.fit([0, 1, 2], 1).bits == 1
    assert Codebook.fit([0, 1, 2, 3], 1, "quantile").bits == 1
