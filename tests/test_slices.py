"""Features sent as independent groups of channels."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pysplitcodec as sc
from pysplitcodec import Codebook, Codec, SlicedCodec, errors
from pysplitcodec.native import numpy_dtype

BOOK = Codebook([0, 1, 2, 3])
DTYPES = ("float32", "float16", "bfloat16", "int8", "uint8")


def feature_for(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 4, size=shape)
    return np.asarray(values).astype(numpy_dtype(dtype))


def at_channels(axis: int, first: int, count: int) -> tuple[slice, ...]:
    return (slice(None),) * axis + (slice(first, first + count),)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[tuple[int, ...], int, list[int]]:
    """Shape, axis, and channels of each slice."""
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    shape = draw(st.lists(st.integers(1, 5), max_size=3))
    axis = draw(st.integers(0, len(shape)))
    shape.insert(axis, sum(counts))
    return tuple(shape), axis, counts


# ------------------------------------------------------------------ codecs of slices


@given(layouts(), st.sampled_from(DTYPES))
def test_slices_are_codecs_of_their_channels(layout: Any, dtype: Any) -> None:
    shape, axis, counts = layout
    codec = Codec(BOOK, "pack", shape=shape, dtype=dtype, channel_axis=axis - len(shape))
    parts = codec.slices(counts)
    feature = feature_for(shape, dtype)
    first = 0
    for part, count in zip(parts, counts):
        assert part.shape == (*shape[:axis], count, *shape[axis + 1 :])
        assert part.slice_of == ((first, sum(counts)) if len(counts) > 1 else None)
        assert (part.channel_axis, part.dtype, part.codebook) == (axis, dtype, BOOK)
        own = np.ascontiguousarray(feature[at_channels(axis, first, count)])
        full = part.encode(own, self_describing=True)
        assert part.decode(part.encode(own)).tobytes() == own.tobytes()
        assert sc.decode(full).tobytes() == part.decode(full).tobytes() == own.tobytes()
        info = sc.inspect(full)
        assert (info.slice_of, info.codec_id) == (part.slice_of, part.id)
        assert sc.inspect(part.encode(own)).slice_of is None
        first += count
    assert len({part.id for part in parts}) == len(counts)


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_number_of_slices(channels: int, count: int) -> None:
    codec = Codec(BOOK, shape=(channels, 2), channel_axis=0)
    if count > channels:
        with pytest.raises(errors.ArgumentError, match=f"at most {channels} slices"):
            codec.slices(count)
        return
    sizes = [part.shape[0] for part in codec.slices(count)]
    assert sum(sizes) == channels and len(sizes) == count
    assert max(sizes) - min(sizes) <= 1 and sizes == sorted(sizes, reverse=True)


def test_ids_differ_by_place_alone() -> None:
    ids = {Codec(BOOK, shape=(2, 3), channel_axis=0).id}
    for whole in range(3, 9):
        for first in range(whole - 1):
            slice_of = (first, whole)
            ids.add(Codec(BOOK, shape=(2, 3), channel_axis=0, slice_of=slice_of).id)
    assert len(ids) == 1 + sum(range(2, 8))


def test_a_slice_of_another_is_not_read() -> None:
    one, two = Codec(BOOK, shape=(4, 3), channel_axis=0).slices(2)
    frame = one.encode(feature_for((2, 3)))
    with pytest.raises(errors.CodecMismatchError, match="slice"):
        two.decode(frame)
    with pytest.raises(errors.CodecMismatchError):
        two.decode(one.encode(feature_for((2, 3)), self_describing=True))


def test_channels_without_an_axis_are_those_that_coders_see() -> None:
    parts = Codec(BOOK, shape=(4, 3, 3)).slices(2)
    assert [part.channel_axis for part in parts] == [0, 0]
    for shape in ((), (4,), (4, 3), (0, 3, 3)):
        with pytest.raises(errors.ArgumentError, match="no channels"):
            Codec(BOOK, shape=shape).slices(1)


def test_slices_of_a_slice() -> None:
    codec = Codec(BOOK, shape=(6, 2), channel_axis=0)
    inner = codec.slices(2)[1].slices([2, 1])
    assert [part.slice_of for part in inner] == [(3, 6), (5, 6)]
    again = codec.slices([3, 2, 1])
    assert [part.id for part in inner] == [part.id for part in again[1:]]
    (same,) = codec.slices(2)[1].slices(1)
    assert same.id == codec.slices(2)[1].id


@pytest.mark.parametrize(
    "counts", [0, 5, -1, True, 1.0, "4", None, [], [4, 0], [5, -1], [1, 2], [2, 3], [2.0, 2], "abc"]
)
def test_wrong_counts(counts: Any) -> None:
    with pytest.raises(errors.ArgumentError, match="counts is"):
        Codec(BOOK, shape=(4, 2), channel_axis=0).slices(counts)


@pytest.mark.parametrize(
    ("slice_of", "message"),
    [
        ((0, 2), "part of 2"),
        ((0, 1), "part of 1"),
        ((0, 0), "part of 0"),
        ((2, 3), "2 channels from 2 on"),
        ((7, 3), "2 channels from 7 on"),
        ((-1, 3), "expected the first channel"),
        ((0, 3, 1), "expected the first channel"),
        ((0,), "expected the first channel"),
        ((0.0, 3), "expected the first channel"),
        ((False, 3), "expected the first channel"),
        (3, "expected the first channel"),
        ("03", "expected the first channel"),
        ((0, 2**29), "at most"),
        ((0, 2**40), "at most"),
    ],
)
def test_wrong_slice_of(slice_of: Any, message: str) -> None:
    with pytest.raises(errors.ArgumentError, match=message):
        Codec(BOOK, shape=(2, 3), channel_axis=0, slice_of=slice_of)


def test_a_slice_needs_an_axis() -> None:
    with pytest.raises(errors.ArgumentError, match="channel_axis"):
        Codec(BOOK, shape=(2, 3, 3), slice_of=(0, 3))


def test_copies_and_files(tmp_path: Path) -> None:
    codec = Codec(BOOK, shape=(5, 2), dtype="int8", channel_axis=0).slices(2)[1]
    assert codec.to_dict()["slice_of"] == [3, 5]
    codec.save(tmp_path / "codec.json")
    for other in (
        pickle.loads(pickle.dumps(codec)),
        Codec.from_dict(json.loads(json.dumps(codec.to_dict()))),
        Codec.load(tmp_path / "codec.json"),
    ):
        assert (other.id, other.slice_of) == (codec.id, (3, 5))
    assert repr(codec).endswith("dtype='int8', channel_axis=0, slice_of=(3, 5))")
    whole = Codec(BOOK, shape=(5, 2))
    assert whole.slice_of is None and "slice_of" not in whole.to_dict()


# ------------------------------------------------------------------ codebooks and models


@given(st.integers(1, 4), st.lists(st.integers(1, 3), min_size=1, max_size=4), st.booleans())
def test_each_slice_has_its_codebooks(each: int, groups: list[int], last: bool) -> None:
    books = [Codebook([0, 1 + i]) for i in range(sum(groups))]
    channels = each * sum(groups)
    shape, axis = ((3, channels), 1) if last else ((channels, 3), 0)
    codec = Codec(books, "pack", shape=shape, channel_axis=axis)
    sliced = SlicedCodec(codec.slices([each * count for count in groups]))
    first = 0
    for part, count in zip(sliced.codecs, groups):
        own = books[first : first + count]
        assert part.codebook == (tuple(own) if count > 1 else own[0])
        first += count
    feature = np.random.default_rng(each).uniform(0, 12, shape).astype(np.float32)
    restored, _ = sliced.decode(sliced.encode(feature))
    assert restored.tobytes() == codec.decode(codec.encode(feature)).tobytes()


def test_codebooks_are_not_split() -> None:
    codec = Codec([BOOK, Codebook([0, 1, 2, 4])], shape=(6, 2), channel_axis=0)
    assert len(codec.slices(2)) == 2
    for counts in (3, 6, [1, 5], [3, 2, 1]):
        with pytest.raises(errors.ArgumentError, match="codebooks in whole, each of 3 channels"):
            codec.slices(counts)


@pytest.mark.parametrize("axis", [0, 2])
def test_models_of_slices(axis: int) -> None:
    shape = (9, 12, 14) if axis == 0 else (12, 14, 9)
    rng = np.random.default_rng(3)
    features = rng.binomial(3, 0.1, (30, *shape)).astype(np.float32)
    codec = Codec(BOOK, "pack", shape=shape, channel_axis=axis)
    parts = SlicedCodec(codec.slices(4)).split(BOOK.quantize(features))
    models = [sc.RansModel.fit(part, 2, channel_axis=axis) for part in parts]
    assert [model.channels for model in models] == [3, 2, 2, 2]
    sliced = SlicedCodec(codec.slices(4, models, coder="rans"))
    assert [part.model for part in sliced.codecs] == models
    frames = sliced.encode(features[0])
    assert {sc.inspect(frame).coder for frame in frames} == {"rans"}
    for seen in (frames, sliced.encode(features[0], self_describing=True)):
        feature, received = sliced.decode(seen)
        assert np.array_equal(feature, features[0]) and all(received)
    for frame in sliced.encode(features[0], self_describing=True):
        assert sc.decode(frame).shape[axis] in (2, 3)
    with pytest.raises(errors.CoderModelError, match="'rans' has no model"):
        codec.slices(4, coder="rans")
    with pytest.raises(errors.CoderModelError, match="channels"):
        codec.slices(4, models[::-1], coder="rans")
    with pytest.raises(errors.ArgumentError, match="4 models for 3 slices"):
        codec.slices(3, models)


def test_some_slices_have_no_model() -> None:
    codec = Codec(BOOK, "pack", shape=(4, 8, 8))
    indices = feature_for((20, 4, 8, 8), "uint8")
    model = sc.RansModel.fit(indices[:, :2], 2)
    one, two = codec.slices(2, [model, None])
    assert (one.model, two.model) == (model, None)
    whole = Codec(BOOK, "rans", shape=(4, 8, 8), model=sc.RansModel.fit(indices, 2))
    assert [part.model for part in whole.slices(2, coder="lzma")] == [None, None]


def test_context_models_of_slices() -> None:
    rng = np.random.default_rng(0)
    indices = np.repeat(rng.integers(0, 2, (20, 4, 4, 4), dtype=np.uint8), 2, axis=-1)
    codec = Codec(Codebook([0, 1]), "pack", shape=indices.shape[1:], channel_axis=0)
    parts = SlicedCodec(codec.slices(2)).split(indices)
    models = [sc.ContextModel.fit(part, 1, budget_bytes=300, epochs=0.5) for part in parts]
    sliced = SlicedCodec(codec.slices(2, models, coder="context"))
    feature = indices[0].astype(np.float32)
    assert np.array_equal(sliced.decode(sliced.encode(feature))[0], feature)


# ------------------------------------------------------------------ together again


@given(layouts(), st.sampled_from(DTYPES), st.booleans(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_any_frames_in_any_order(layout: Any, dtype: Any, full: bool, random: Any) -> None:
    shape, axis, counts = layout
    sliced = SlicedCodec(Codec(BOOK, shape=shape, dtype=dtype, channel_axis=axis).slices(counts))
    assert (sliced.shape, sliced.dtype, sliced.channel_axis) == (shape, dtype, axis)
    feature = feature_for(shape, dtype, seed=len(shape))
    frames = sliced.encode(feature, self_describing=full)
    assert len(frames) == len(sliced.codecs) == len(counts)
    for chosen in itertools.product([False, True], repeat=len(counts)):
        sent = [frame for frame, wanted in zip(frames, chosen) if wanted]
        sent += [frame for frame in sent if random.random() < 0.3]
        random.shuffle(sent)
        out = np.full(shape, 9, numpy_dtype(dtype)) if random.random() < 0.5 else None
        restored, received = sliced.decode(iter(sent), out, missing=7)
        assert out is None or restored is out
        assert received == chosen
        assert (restored.dtype, restored.shape) == (feature.dtype, shape)
        expected = np.full(shape, 7, feature.dtype)
        first = 0
        for count, came in zip(counts, chosen):
            if came:
                expected[at_channels(axis, first, count)] = feature[at_channels(axis, first, count)]
            first += count
        assert restored.tobytes() == expected.tobytes()


def make(shape: tuple[int, ...] = (4, 3), axis: int = 0, count: int = 2) -> SlicedCodec:
    return SlicedCodec(Codec(BOOK, "pack", shape=shape, channel_axis=axis).slices(count))


def test_of_two_frames_of_one_slice_the_later_counts() -> None:
    sliced = make()
    zeros, threes = (sliced.encode(np.full((4, 3), value, np.float32)) for value in (0, 3))
    feature, received = sliced.decode([zeros[0], zeros[1], threes[0]])
    assert received == (True, True)
    assert feature.tolist() == [[3] * 3] * 2 + [[0] * 3] * 2


def test_nothing_arrives() -> None:
    feature, received = make().decode([])
    assert received == (False, False)
    assert feature.dtype == np.float32 and not feature.any() and feature.shape == (4, 3)


def test_what_stands_for_the_missing() -> None:
    sliced = make((4, 3), 1, 3)
    feature = feature_for((4, 3))
    frames = sliced.encode(feature)
    mean = np.arange(12, dtype=np.float64).reshape(4, 3)
    for missing in (mean, mean[:1], mean[:, :1], mean[0], 5, np.float32(5), [1, 2, 3]):
        restored, _ = sliced.decode(frames[1:2], missing=missing)
        expected = np.array(np.broadcast_to(missing, (4, 3)), np.float32)
        expected[:, 1] = feature[:, 1]
        assert np.array_equal(restored, expected)
    for wrong in (mean[:2], mean.reshape(2, 6), [1, 2]):
        with pytest.raises(errors.FeatureError, match="missing has shape"):
            sliced.decode(frames[1:2], missing=wrong)
    assert sliced.decode(frames, missing=[1, 2])[1] == (True, True, True)  # and is not looked at


@pytest.mark.parametrize("shape", [(4,), (0, 5), (3, 0, 2), (1, 1, 1, 1, 1, 1, 1, 6)])
def test_odd_shapes(shape: tuple[int, ...]) -> None:
    axis = max(range(len(shape)), key=lambda at: shape[at])
    sliced = make(shape, axis, 2)
    feature = feature_for(shape)
    restored, received = sliced.decode(sliced.encode(feature))
    assert restored.tobytes() == feature.tobytes() and received == (True, True)
    assert restored.shape == shape


def test_one_slice_is_the_whole() -> None:
    for codec in (Codec(BOOK, shape=(4, 3)), Codec(BOOK, shape=())):
        sliced = SlicedCodec([codec])
        feature = feature_for(codec.shape)
        assert sliced.shape == codec.shape
        assert sliced.encode(feature) == [codec.encode(feature)]
        restored, received = sliced.decode(sliced.encode(feature))
        assert np.array_equal(restored, feature) and received == (True,)
        assert np.array_equal(sliced.decode([], missing=2)[0], np.full(codec.shape, 2))


def test_views_are_split_and_encoded() -> None:
    sliced = make((4, 3), 1, 3)
    features = feature_for((5, 3, 4)).transpose(0, 2, 1)
    assert sliced.encode(features[2]) == sliced.encode(np.ascontiguousarray(features[2]))
    parts = sliced.split(features)
    assert [part.shape for part in parts] == [(5, 4, 1)] * 3
    assert all(np.shares_memory(part, features) for part in parts)
    assert np.array_equal(np.concatenate(parts, axis=2), features)
    out = np.zeros((8, 3), np.float32)
    sliced.decode(sliced.encode(features[2]), out[::2])
    assert np.array_equal(out[::2], features[2]) and not out[1::2].any()


def test_wrong_features() -> None:
    sliced = make()
    for wrong, message in (
        (np.zeros((3, 4), np.float32), "shape"),
        (np.zeros((4, 3)), "dtype float64"),
        ([[0] * 3] * 4, "list"),
    ):
        with pytest.raises(errors.FeatureError, match=message):
            sliced.encode(wrong)
    for wrong in (np.zeros((4, 4)), np.zeros(3), np.zeros((3, 4))):
        with pytest.raises(errors.FeatureError, match="end in"):
            sliced.split(wrong)


def test_wrong_outs() -> None:
    sliced, frozen = make(), np.zeros((4, 3), np.float32)
    frozen.flags.writeable = False
    swapped = np.zeros((4, 3), np.dtype(np.float32).newbyteorder())
    assert sliced.decode(sliced.encode(np.ones((4, 3), np.float32)), swapped)[0].min() == 1
    for wrong in (frozen, np.zeros((4, 3)), np.zeros((2, 3), np.float32), [0]):
        with pytest.raises(errors.FeatureError, match="out"):
            sliced.decode([], wrong)


def test_frames_that_are_refused() -> None:
    sliced = make()
    frames = sliced.encode(feature_for((4, 3)))
    whole = Codec(BOOK, "pack", shape=(4, 3), channel_axis=0)
    stranger = Codec(BOOK, "pack", shape=(2, 3), channel_axis=0)
    for codec in (whole, stranger, make(count=4).codecs[0]):
        for full in (False, True):
            frame = codec.encode(feature_for(codec.shape), self_describing=full)
            with pytest.raises(errors.CodecMismatchError, match=f"{codec.id:08x}: that is no"):
                sliced.decode([*frames, frame])
    damaged = frames[0][:-1] + bytes([frames[0][-1] ^ 1])
    with pytest.raises(errors.ChecksumError):
        sliced.decode([frames[1], damaged])
    with pytest.raises(errors.TruncatedFrameError):
        sliced.decode([b""])
    with pytest.raises(TypeError):
        sliced.decode([7])


def test_codecs_that_make_no_feature() -> None:
    codec = Codec(BOOK, shape=(6, 4), channel_axis=0)
    a, b, c = codec.slices(3)
    assert SlicedCodec([a, b, c]).shape == (6, 4)
    other = Codec(BOOK, shape=(6, 5), channel_axis=0).slices(3)[1]
    halves = Codec(BOOK, shape=(6, 4), dtype="float16", channel_axis=0).slices(3)[1]
    more = Codec(BOOK, shape=(8, 4), channel_axis=0).slices(4)[1]
    across = Codec(BOOK, shape=(2, 6), channel_axis=1, slice_of=(2, 4 + 6))
    for codecs, message in (
        ([], "no slices"),
        ([a, None], "no slices"),
        ([a, b], "slices of 4 channels in all: expected 6"),
        ([b, c], "begins with channel 2: expected 0"),
        ([a, c], "begins with channel 4: expected 2"),
        ([a, a, b, c], "begins with channel 0: expected 2"),
        ([c, b, a], "begins with channel 4"),
        ([codec, codec], "is no slice"),
        ([a, codec], "is no slice"),
        ([a, other, c], "different features"),
        ([a, halves, c], "different features"),
        ([a, more, c], "different features"),
        ([a, across, c], "different features"),
    ):
        with pytest.raises(errors.ArgumentError, match=message):
            SlicedCodec(codecs)  # type: ignore[arg-type]


def test_slices_may_differ_in_all_else() -> None:
    codec = Codec(BOOK, "pack", shape=(4, 3), channel_axis=0)
    fine = Codec(Codebook(np.arange(8) / 2), "lzma", shape=(4, 3), channel_axis=0)
    sliced = SlicedCodec([fine.slices(2)[0], codec.slices(2)[1]])
    feature = np.full((4, 3), 1.5, np.float32)
    restored, _ = sliced.decode(sliced.encode(feature))
    assert restored.tolist() == [[1.5] * 3] * 2 + [[1] * 3] * 2
    assert repr(sliced) == "<SlicedCodec of 2 slices, shape=(4, 3)>"


# ------------------------------------------------------------------ bindings and the page


@given(layouts(), st.sampled_from(DTYPES))
def test_bindings_agree(layout: Any, dtype: Any) -> None:
    abi = pytest.importorskip("pysplitcodec._abi", exc_type=ImportError)
    core = pytest.importorskip("pysplitcodec._core", exc_type=ImportError)
    shape, axis, counts = layout
    codec = Codec(BOOK, shape=shape, dtype=dtype, channel_axis=axis)
    for part in codec.slices(counts):
        feature = feature_for(part.shape, dtype)
        found = []
        for module in (core, abi):
            book = module.Codebook(np.array(BOOK.centroids))
            number = DTYPES.index(dtype)
            place = part.slice_of or (0, 0)
            own = module.Codec(book, axis, number, part.shape, None, place)
            frame = own.encode(0, 1, feature)
            assert module.frame_parse(frame)["slice"] == place
            out = np.empty_like(feature)
            assert own.decode(frame, out) and out.tobytes() == feature.tobytes()
            found.append((own.id(), frame))
        assert found[0] == found[1] and found[0][0] == part.id


def test_a_frame_of_a_slice_is_no_larger_than_it_has_to_be() -> None:
    part = make((4, 3)).codecs[1]
    whole = Codec(BOOK, "pack", shape=(2, 3), channel_axis=0)
    assert part.bound() == whole.bound()
    assert part.bound(self_describing=True) == whole.bound(self_describing=True) + 8


def test_limit_is_that_of_the_slice() -> None:
    part = make((4, 3)).codecs[1]
    frame = part.encode(feature_for((2, 3)), self_describing=True)
    assert sc.decode(frame, max_elements=math.prod(part.shape)).shape == (2, 3)
    with pytest.raises(errors.FrameLimitError):
        sc.decode(frame, max_elements=math.prod(part.shape) - 1)


def test_the_example_of_the_page() -> None:
    page = Path(__file__).parents[1] / "docs" / "slices.md"
    found: dict[str, Any] = {}
    for example in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        exec(example, found)
    assert found["received"] == (True, False, True, True)
