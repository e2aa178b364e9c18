"""Codebooks: construction, quantising, files."""

from __future__ import annotations

import copy
import json
import pickle
import sys
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pysplitcodec import Codebook, errors

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
moderate = st.floats(-1e6, 1e6, width=32)


def distinct(values: Any) -> np.ndarray:
    return np.unique(np.asarray(values, dtype=np.float32) + np.float32(0))


# ------------------------------------------------------------------ construction


@pytest.mark.parametrize("bits", range(1, 9))
def test_width_follows_the_count(bits: int) -> None:
    book = Codebook(np.arange(1 << bits))
    assert book.bits == bits
    assert book.centroids.tolist() == list(range(1 << bits))
    assert book.centroids.dtype == book.thresholds.dtype == np.float32
    assert book.thresholds.tolist() == [i + 0.5 for i in range((1 << bits) - 1)]


@pytest.mark.parametrize("count", [0, 1, 3, 5, 7, 9, 255, 257, 512])
def test_wrong_count(count: int) -> None:
    with pytest.raises(errors.CodebookError, match="shape"):
        Codebook(np.arange(count))


@pytest.mark.parametrize(
    ("centroids", "message"),
    [
        ([1, 0], "out of order"),
        ([0, 1, 3, 2], r"centroids\[2\] and \[3\] are out of order"),
        ([0, 0], "repeated"),
        ([0.0, -0.0], "repeated"),
        ([1.0, 1.0 + 1e-9], "repeated"),  # one float32
        ([0, float("nan")], r"centroids\[1\] is nan"),
        ([float("nan"), 0], r"centroids\[0\] is nan"),
        ([0, float("inf")], "finite"),
        ([-float("inf"), 0], "finite"),
        ([[0, 1]], "one dimension"),
        (0.5, "one dimension"),
        ([[0], [1, 2]], "not numbers"),
        (["a", "b"], "not numbers"),
        ({"a": 1}, "not numbers"),
        (None, "CodebookError|one dimension|not numbers"),
        (object(), "not numbers"),
    ],
)
def test_wrong_centroids(centroids: Any, message: str) -> None:
    with pytest.raises(errors.CodebookError, match=message):
        Codebook(centroids)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "centroids",
    [
        [0, 10**400],  # no float at all
        [0, 1e39],  # no float32
        np.array([0, 1j]),  # not real
    ],
)
def test_centroids_that_no_float32_holds(centroids: Any) -> None:
    with pytest.raises(errors.CodebookError):
        Codebook(centroids)


def test_negative_zero_counts_as_zero() -> None:
    book = Codebook([-0.0, 1])
    assert not np.signbit(book.centroids[0])
    assert book == Codebook([0.0, 1]) and hash(book) == hash(Codebook([0.0, 1]))
    assert not np.signbit(Codebook([-1, -0.0]).centroids[1])


def test_centroids_are_copied_and_read_only() -> None:
    values = np.array([0, 1], dtype=np.float32)
    book = Codebook(values)
    values[1] = 9
    assert book.centroids.tolist() == [0, 1]
    with pytest.raises(ValueError, match="read-only"):
        book.centroids[0] = 5
    book.thresholds[0] = 9  # a copy
    assert book.thresholds.tolist() == [0.5]
    with pytest.raises(AttributeError):
        book.centroids = values  # type: ignore[misc]
    with pytest.raises(AttributeError):
        book.extra = 1  # type: ignore[attr-defined]


def test_equality_and_hash() -> None:
    book = Codebook([0, 1])
    assert book == Codebook(np.float64([0, 1]))
    assert book != Codebook([0, 2])
    assert book != Codebook([0, 1, 2, 3])
    assert book != [0, 1]
    assert len({book, Codebook([0, 1]), Codebook([0, 2])}) == 2
    assert type(book == Codebook([0, 1])) is bool


def test_copies() -> None:
    book = Codebook([-1, 1e-40, 0.1, 3e38])
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(book, protocol))
        assert again == book
        assert again.quantize(np.float32([0.06])).tolist() == [2]
        assert not again.centroids.flags.writeable
    assert copy.copy(book) == copy.deepcopy(book) == book


def test_repr() -> None:
    assert repr(Codebook([0, 0.5])) == "Codebook([0, 0.5])"
    assert repr(Codebook(range(16))) == "Codebook([0, 1, 2, 3, 4, 5, 6, 7, ...])"


@given(st.integers(1, 4).flatmap(lambda bits: st.sets(finite, min_size=2**bits, max_size=2**bits)))
def test_thresholds_lie_between_centroids(centroids: set[float]) -> None:
    values = distinct(sorted(centroids))
    assume(values.size == len(centroids))
    book = Codebook(values)
    low, high, thresholds = values[:-1], values[1:], book.thresholds
    assert np.all((low <= thresholds) & (thresholds < high))
    up = np.nextafter(thresholds, np.float32(np.inf))
    for a, b, threshold, above in zip(low, high, thresholds, up):
        middle = (Fraction(float(a)) + Fraction(float(b))) / 2
        assert Fraction(float(threshold)) <= middle
        assert np.isinf(above) or middle < Fraction(float(above))
    assert not np.any(np.signbit(thresholds) & (thresholds == 0))


# ------------------------------------------------------------------ quantising


BOOK = Codebook([-1, 0, 1, 2])


def test_ties_take_the_lower_index() -> None:
    values = np.float32([-0.5, 0.5, 1.5])
    assert BOOK.quantize(values).tolist() == [0, 1, 2]
    above = np.nextafter(values, np.float32(9))
    assert BOOK.quantize(above).tolist() == [1, 2, 3]


def test_special_values() -> None:
    values = np.array(
        [0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF800001], dtype=np.uint32
    ).view(np.float32)
    assert BOOK.quantize(values).tolist() == [3, 0, 3, 0, 3, 0]
    assert Codebook([-1, 1]).quantize(np.float32([0.0, -0.0])).tolist() == [0, 0]


@given(st.lists(st.floats(width=32), max_size=300))
def test_nearest_centroid(values: list[float]) -> None:
    feature = np.array(values, dtype=np.float32)
    indices = BOOK.quantize(feature)
    assert indices.dtype == np.uint8
    for value, index in zip(feature.tolist(), indices):
        if np.isfinite(value):  # exactly: floating-point distances to far values are all the same
            distances = [abs(Fraction(value) - level) for level in (-1, 0, 1, 2)]
            assert index == distances.index(min(distances))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (2, 3), (2,) * 9, (257,)])
@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8"])
def test_shape_is_kept(shape: tuple[int, ...], dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 3, shape).astype(dtype)
    indices = BOOK.quantize(values)
    assert type(indices) is np.ndarray
    assert (indices.shape, indices.dtype) == (shape, np.uint8)
    restored = BOOK.dequantize(indices, dtype)  # type: ignore[arg-type]
    assert (restored.shape, restored.dtype) == (shape, np.dtype(dtype))
    assert np.array_equal(restored, np.minimum(values, 2))


def test_layouts() -> None:
    values = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    want = BOOK.quantize(values)
    misaligned = np.frombuffer(b"?" + values.tobytes(), np.uint8)[1:].view(np.float32)
    assert not misaligned.flags.aligned
    readonly = values.copy()
    readonly.setflags(write=False)
    for view, expected in (
        (np.asfortranarray(values), want),
        (values.T, want.T),
        (values[::-1, ::2], want[::-1, ::2]),
        (np.broadcast_to(values[0], (3, 8)), np.broadcast_to(want[0], (3, 8))),
        (misaligned.reshape(6, 8), want),
        (readonly, want),
    ):
        assert np.array_equal(BOOK.quantize(view), expected)
        assert np.array_equal(
            BOOK.dequantize(BOOK.quantize(view)), BOOK.dequantize(np.ascontiguousarray(expected))
        )
    assert np.array_equal(BOOK.dequantize(want.T), BOOK.dequantize(want).T)
    assert np.array_equal(BOOK.dequantize(want[:, ::3]), BOOK.dequantize(want)[:, ::3])


def test_numpy_scalars() -> None:
    for scalar in (np.float32(0.6), np.int8(1), np.uint8(1)):
        indices = BOOK.quantize(scalar)  # type: ignore[arg-type]
        assert (indices.shape, int(indices)) == ((), 2)
    assert BOOK.dequantize(np.uint8(3)) == 2  # type: ignore[arg-type]


def test_native_order_said_explicitly() -> None:
    # the same dtype, but numpy keeps the "<" that was asked for
    for dtype in ("float32", "int8", "uint8"):
        order = "<" if sys.byteorder == "little" else ">"
        explicit = np.dtype(dtype).newbyteorder(order)
        assert explicit.isnative
        values = np.array([0, 1, 2], dtype=explicit)
        assert BOOK.quantize(values).tolist() == [1, 2, 3]
        assert BOOK.dequantize(BOOK.quantize(values), dtype).tolist() == [0, 1, 2]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        [0.0, 1.0],
        1.0,
        None,
        "text",
        np.zeros(3),
        np.zeros(3, dtype=np.int16),
        np.zeros(3, dtype=np.int16),
        np.zeros(3, dtype=bool),
        np.zeros(3, dtype=object),
        np.zeros(3, dtype=np.dtype(np.float32).newbyteorder()),
    ],
    ids=repr,
)
def test_quantize_wrong_values(values: Any) -> None:
    with pytest.raises(errors.FeatureError, match="values"):
        BOOK.quantize(values)


def test_dequantize_rounds_halves_up_and_clamps() -> None:
    book = Codebook([-300, -1.5, -0.5, 0.25, 0.5, 1.5, 200, 300])
    indices = np.arange(8, dtype=np.uint8)
    assert book.dequantize(indices, "int8").tolist() == [-128, -1, 0, 0, 1, 2, 127, 127]
    assert book.dequantize(indices, "uint8").tolist() == [0, 0, 0, 0, 1, 2, 200, 255]
    assert book.dequantize(indices).tolist() == book.centroids.tolist()


@pytest.mark.parametrize(
    "indices",
    [
        [0, 1],
        None,
        np.array([0, 1]),
        np.array([0, 1], dtype=np.int8),
        np.array([0.0], dtype=np.float32),
        np.array([0, 4], dtype=np.uint8),
        np.full(1000, 255, dtype=np.uint8),
    ],
)
def test_dequantize_wrong_indices(indices: Any) -> None:
    with pytest.raises(errors.FeatureError, match="indices"):
        BOOK.dequantize(indices)


@pytest.mark.parametrize("dtype", ["int16", "float64", "", None, np.float32, []])
def test_dequantize_wrong_dtype(dtype: Any) -> None:
    with pytest.raises(errors.ArgumentError, match="dtype"):
        BOOK.dequantize(np.zeros(1, dtype=np.uint8), dtype)


def test_threads_share_a_codebook() -> None:
    book = Codebook(np.linspace(-1, 1, 256))
    rng = np.random.default_rng(0)
    features = [rng.normal(size=50_000).astype(np.float32) for _ in range(8)]
    wanted = [book.quantize(feature) for feature in features]
    found: list[Any] = [None] * len(features)

    def work(i: int) -> None:
        for _ in range(5):
            found[i] = book.quantize(features[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(features))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted))


# ------------------------------------------------------------------ files


AWKWARD = [-3.4028234663852886e38, -1e-45, 0.1, 1e-38]


@given(st.sets(finite, min_size=4, max_size=4))
def test_json_is_exact(centroids: set[float]) -> None:
    values = distinct(sorted(centroids))
    assume(values.size == 4)
    book = Codebook(values)
    again = Codebook.from_dict(json.loads(json.dumps(book.to_dict())))
    assert again.centroids.tobytes() == book.centroids.tobytes()


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_files(tmp_path: Path, suffix: str) -> None:
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    book = Codebook(sorted(AWKWARD))
    for path in (tmp_path / f"book{suffix}", str(tmp_path / f"text{suffix}")):
        book.save(path)
        again = Codebook.load(path)
        assert again.centroids.tobytes() == book.centroids.tobytes()


def test_json_file_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    Codebook([0, 0.5]).save(path)
    assert json.loads(path.read_text(encoding="utf-8")) == {"centroids": [0.0, 0.5]}
    path.write_text('{"centroids": [0, 1], "made by": "hand"}', encoding="utf-8")
    assert Codebook.load(path) == Codebook([0, 1])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "5",
        "[0, 1]",
        "{}",
        '{"centroids": null}',
        '{"centroids": []}',
        '{"centroids": [0, 1, 2]}',
        '{"centroids": [1, 0]}',
        '{"centroids": [0, NaN]}',
        '{"centroids": [0, Infinity]}',
        '{"centroids": [0, 1e400]}',
        '{"centroids": {"0": 1}}',
        '{"centroids": [[0, 1]]}',
        '{"centroids": "01"}',
        '{"centroids": [0, 1e39]}',
        pytest.param('{"centroids": [0, 1' + "0" * 400 + "]}", id="400 digits"),
        pytest.param('{"centroids": [0, 1' + "0" * 5000 + "]}", id="5000 digits"),
        pytest.param("[" * 100_000, id="deep"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_corrupt_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "book.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(errors.CodebookError):
        Codebook.load(path)


def test_json_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    path.write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(errors.CodebookError, match=r"book\.json is not JSON"):
        Codebook.load(path)


def test_corrupt_safetensors(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "book.safetensors"
    good = numpy.save({"centroids": np.float32([0, 1])})
    wrong = [
        b"",
        b"no safetensors",
        good[:-1],
        good[:10],
        bytes(100),
        b"\xff" * 100,
        numpy.save({"other": np.float32([0, 1])}),
        numpy.save({"centroids": np.float32([1, 0])}),
        numpy.save({"centroids": np.float32([[0, 1]])}),
        numpy.save({"centroids": np.float32([0, np.nan])}),
        numpy.save({"centroids": np.float32([])}),
    ]
    for data in wrong:
        path.write_bytes(data)
        with pytest.raises(errors.CodebookError):
            Codebook.load(path)
    path.write_bytes(good)
    assert Codebook.load(path) == Codebook([0, 1])


@pytest.mark.parametrize("name", ["book.txt", "book", "book.JSON5", "json"])
def test_wrong_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.ArgumentError, match=r"expected a \.json or \.safetensors file"):
        Codebook([0, 1]).save(tmp_path / name)
    assert not (tmp_path / name).exists()
    with pytest.raises(errors.ArgumentError):
        Codebook.load(tmp_path / name)


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_missing_file(tmp_path: Path, suffix: str) -> None:
    if suffix == "safetensors":
        pytest.importorskip("safetensors")
    with pytest.raises(FileNotFoundError):
        Codebook.load(tmp_path / f"none.{suffix}")


def test_files_without_safetensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    path = tmp_path / "book.safetensors"
    with pytest.raises(errors.MissingDependencyError, match=r"pysplitcodec\[safetensors\]"):
        Codebook([0, 1]).save(path)
    with pytest.raises(errors.MissingDependencyError):
        Codebook.load(path)
    Codebook([0, 1]).save(tmp_path / "book.json")
    assert Codebook.load(tmp_path / "book.json") == Codebook([0, 1])


@pytest.mark.parametrize("description", [None, 5, [0, 1], {}, {"centroid": [0, 1]}, "centroids"])
def test_from_dict_of_something_else(description: Any) -> None:
    with pytest.raises(errors.CodebookError, match="centroids"):
        Codebook.from_dict(description)
