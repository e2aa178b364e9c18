"""The wire format: C core through both bindings, Python API and reference say the same."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import lzma
import random
import re
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference as ref
from hypothesis import given, settings
from hypothesis import strategies as st

import pysplitcodec as sc
from pysplitcodec import errors
from pysplitcodec.model import load_model
from pysplitcodec.native import numpy_dtype

HERE = Path(__file__).resolve().parent
VECTORS = HERE / "vectors"
FORMAT = HERE.parent / "docs" / "format.md"


def _load(name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((VECTORS / name).read_text(encoding="utf-8"))
    return entries


def _numbers(text: str, dtype: str) -> list[int]:
    """A hex string of the vectors as the reference has it: the bits of floats, or integers."""
    raw = bytes.fromhex(text)
    code = {"float32": "I", "float16": "H", "bfloat16": "H", "int8": "b", "uint8": "B"}[dtype]
    return list(struct.unpack(f">{len(raw) // struct.calcsize(code)}{code}", raw))


def _array(numbers: Sequence[int], dtype: str, shape: Sequence[int] = (-1,)) -> np.ndarray:
    own = numpy_dtype(dtype)
    kind = own if own.kind in "iu" else f"u{own.itemsize}"
    return np.array(numbers, dtype=kind).view(own).reshape(tuple(shape))


def _empty(entry: dict[str, Any]) -> np.ndarray:
    return np.empty(entry["shape"], dtype=numpy_dtype(entry["dtype"]))


BOOKS = {entry["name"]: entry for entry in _load("codebooks.json")}
CENTROIDS = {name: _numbers(entry["centroids"], "float32") for name, entry in BOOKS.items()}
FRAME_FILES = ("pack", "narrow-frames", "shapes", "channels", "slices", "lzma", "context")


def _frames() -> Iterator[dict[str, Any]]:
    entries = [entry for name in FRAME_FILES for entry in _load(f"{name}.json")]
    by_name = {entry["name"]: entry for entry in entries}
    for entry in entries:
        whole = {**by_name.get(entry.get("like", ""), {}), **entry}
        if "feature" not in whole:  # what the indices stand for
            restored = ref.dequantize(_reference_codec(entry), bytes.fromhex(entry["indices"]))
            assert entry["dtype"] == "float32"
            whole["feature"] = "".join(f"{bits:08x}" for bits in restored)
        yield whole


def _codebooks(entry: dict[str, Any]) -> tuple[tuple[int, ...], ...]:
    names = entry["codebooks"] if "codebooks" in entry else [entry["codebook"]]
    return tuple(tuple(CENTROIDS[name]) for name in names)


def _reference_codec(entry: dict[str, Any]) -> Any:
    dtype, shape = ref.DTYPES[entry["dtype"]], tuple(entry["shape"])
    model = bytes.fromhex(entry.get("model", ""))
    return ref.Codec(_codebooks(entry), dtype, shape, entry.get("axis"), model, _slice_of(entry))


def _slice_of(entry: dict[str, Any]) -> tuple[int, int] | None:
    return tuple(entry["slice_of"]) if "slice_of" in entry else None


def _codec(entry: dict[str, Any], coder: str = "pack") -> sc.Codec:
    books = [sc.Codebook(_array(centroids, "float32")) for centroids in _codebooks(entry)]
    dtype, axis = entry["dtype"], entry.get("axis")
    model = load_model(bytes.fromhex(entry["model"])) if "model" in entry else None
    return sc.Codec(
        *(books, coder),
        shape=entry["shape"],
        dtype=dtype,
        channel_axis=axis,
        model=model,
        slice_of=_slice_of(entry),
    )


def _asked(name: str) -> str:
    """The coder that the frames of an entry were asked for, which may have stored instead."""
    return next((coder for coder in ("lzma", "context") if name.startswith(f"{coder}-")), "pack")


def _encode_by_reference(name: str, codec: Any, feature: list[int], full: bool = False) -> bytes:
    encode = ref.encode_context if _asked(name) == "context" else ref.encode_pack
    frame: bytes = encode(codec, feature, full)
    return frame


FRAMES = {entry["name"]: entry for entry in _frames()}
BAD = {entry["name"]: entry for entry in _load("bad.json")}
KINDS = {"compact": 0, "self_describing": 1}
GOLDEN = [(name, kind) for name, entry in FRAMES.items() for kind in KINDS if kind in entry]


@functools.cache
def _expected(name: str, kind: str) -> Any:
    """What the reference makes of a golden frame."""
    return ref.decode(bytes.fromhex(FRAMES[name][kind]), _reference_codec(FRAMES[name]))


class Core:
    """One binding, used without the Python layer."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def codec(self, entry: dict[str, Any]) -> Any:
        centroids = _codebooks(entry)
        book = self.module.Codebook(_array(centroids, "float32", (len(centroids), -1)))
        dtype, shape = ref.DTYPES[entry["dtype"]], tuple(entry["shape"])
        model = self.module.Model(bytes.fromhex(entry["model"])) if "model" in entry else None
        slice_of = _slice_of(entry) or (0, 0)
        return self.module.Codec(book, entry.get("axis", -1), dtype, shape, model, slice_of)

    def decode(self, entry: dict[str, Any], frame: bytes) -> np.ndarray:
        out = _empty(entry)
        assert self.codec(entry).decode(frame, out)
        return out


def _binding(name: str) -> Core:
    if name == "cffi":
        pytest.importorskip("cffi")
        from pysplitcodec import _abi

        return Core(_abi)
    return Core(pytest.importorskip("pysplitcodec._core"))


@pytest.fixture(scope="module", params=["pybind11", "cffi"])
def core(request: pytest.FixtureRequest) -> Core:
    return _binding(request.param)


@pytest.fixture(params=[0xFFFFFFFF, 3, 1, 0], ids=["all", "avx2", "sse42", "none"])
def masked_core(request: pytest.FixtureRequest, core: Core) -> Iterator[Core]:
    """The core with some of its CPU features switched off."""
    core.module.set_cpu_mask(request.param)
    yield core
    core.module.set_cpu_mask(0xFFFFFFFF)


# ------------------------------------------------------------------ the vectors themselves


def test_vectors_are_what_the_reference_gives() -> None:
    command = [sys.executable, str(VECTORS / "generate.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_vectors_cover_the_format() -> None:
    entries = list(FRAMES.values())
    assert len({FRAMES[name][kind] for name, kind in GOLDEN}) >= 400
    codecs = [_reference_codec(entry) for entry in entries]
    pairs = {(codec.bits, codec.dtype) for codec in codecs}
    assert pairs == set(itertools.product(range(1, 9), ref.DTYPES.values()))
    assert {len(entry["shape"]) for entry in entries} == set(range(9))
    lengths = {tuple(entry["shape"]) for entry in entries if len(entry["shape"]) == 1}
    edges = [0, *(2**e + d for e in range(4, 10) for d in (-1, 0, 1)), 1, 2, 7, 8, 9]
    assert lengths >= {(edge,) for edge in edges}
    assert sum(file.stat().st_size for file in VECTORS.glob("[A-z]*.*")) <= 700_000


def test_vectors_cover_channels() -> None:
    pairs, runs, alone = set(), set(), set()
    for entry in FRAMES.values():
        codec = _reference_codec(entry)
        if codec.axis is not None and len(codec.codebooks) == 1:
            alone |= {(codec.axis, len(codec.shape)), codec.dtype}
        groups = list(ref.groups_of(codec)) if len(codec.codebooks) > 1 else []
        if not groups:
            continue
        pairs.add((codec.bits, codec.dtype))
        run = len(list(next(itertools.groupby(groups))[1]))
        kind = "one" if run == 1 else "few" if run < 16 else "bytes" if run % 8 == 0 else "many"
        runs |= {(kind, codec.dtype), (codec.axis, len(codec.shape))}
    assert pairs == set(itertools.product(range(1, 9), ref.DTYPES.values()))
    kinds = ("one", "few", "many", "bytes")
    assert runs >= set(itertools.product(kinds, ref.DTYPES.values()))
    assert runs >= {(axis, rank) for rank in (1, 2, 3) for axis in range(rank)} | {(5, 8)}
    assert alone >= {(0, 1), (1, 2), (0, 3), (1, 3), (2, 3), *ref.DTYPES.values()}


def test_every_refusal_has_a_vector() -> None:
    seen = {entry[key] for entry in BAD.values() for key in ("error", "error_with_codec")}
    table = set(re.findall(r"\| (\w+Error), `[A-Z_]+` \|", FORMAT.read_text(encoding="utf-8")))
    assert seen - {None} == table
    assert all(issubclass(getattr(errors, name), errors.SplitCodecError) for name in table)


def test_stored_payloads_are_not_rewritten(tmp_path: Path) -> None:
    # a changed payload is an error for --write too, never replaced
    for folder in ("vectors", "reference"):
        (tmp_path / folder).mkdir()
        for file in (HERE / folder).glob("[a-z]*.*"):
            (tmp_path / folder / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "vectors" / "lzma.json"
    entries = json.loads(path.read_text(encoding="utf-8"))
    assert entries[0]["name"].endswith("-liblzma")
    entries[0]["payload"] = entries[0]["payload"][:-2]
    path.write_text(json.dumps(entries), encoding="utf-8")
    before = path.read_bytes()
    command = [sys.executable, str(tmp_path / "vectors" / "generate.py"), "--write"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert path.read_bytes() == before


# ------------------------------------------------------------------ quantiser


@pytest.mark.parametrize("name", BOOKS)
def test_thresholds(core: Core, name: str) -> None:
    expected = _numbers(BOOKS[name]["thresholds"], "float32")
    assert [ref.bits_of_key(key) for key in ref.thresholds(CENTROIDS[name])] == expected
    centroids = _array(CENTROIDS[name], "float32")
    found = core.module.Codebook(centroids).thresholds()
    assert found.dtype == np.int32
    assert found.tolist() == ref.thresholds(CENTROIDS[name])
    assert sc.Codebook(centroids).thresholds.view(np.uint32).tolist() == expected


def test_quantize(masked_core: Core) -> None:
    for entry in _load("quantize.json"):
        values = _array(_numbers(entry["values"], entry["dtype"]), entry["dtype"])
        book = masked_core.module.Codebook(_array(CENTROIDS[entry["codebook"]], "float32"))
        indices = np.empty(values.size, dtype=np.uint8)
        book.quantize(ref.DTYPES[entry["dtype"]], values, indices)
        assert indices.tobytes().hex() == entry["indices"], entry["codebook"]


@pytest.mark.parametrize("name", BOOKS)
def test_dequantize(core: Core, name: str) -> None:
    book = core.module.Codebook(_array(CENTROIDS[name], "float32"))
    indices = np.arange(len(CENTROIDS[name]), dtype=np.uint8)
    for dtype in ("float32", "int8", "uint8"):
        values = np.empty(indices.size, dtype=dtype)
        book.dequantize(ref.DTYPES[dtype], indices, values)
        expected = BOOKS[name]["centroids" if dtype == "float32" else dtype]
        assert values.tobytes() == _array(_numbers(expected, dtype), dtype).tobytes()


def test_narrow(masked_core: Core) -> None:
    for entry in _load("narrow.json"):
        dtype, number = entry["dtype"], ref.DTYPES[entry["dtype"]]
        values = _array(_numbers(entry["values"], dtype), dtype)
        centroids = CENTROIDS[entry["codebook"]]
        book = masked_core.module.Codebook(_array(centroids, "float32"))
        indices = np.empty(values.size, dtype=np.uint8)
        book.quantize(number, values, indices)
        assert indices.tobytes().hex() == entry["indices"], entry["codebook"]
        restored = np.empty(len(centroids), dtype=values.dtype)
        book.dequantize(number, np.arange(len(centroids), dtype=np.uint8), restored)
        expected = _array(_numbers(entry["restored"], dtype), dtype)
        assert restored.tobytes() == expected.tobytes(), entry["codebook"]


float_bits = st.integers(0, 2**32 - 1)
finite_bits = float_bits.filter(ref.is_finite).map(lambda bits: bits if bits != 1 << 31 else 0)


@st.composite
def codebooks(draw: st.DrawFn) -> list[int]:
    """Centroids anywhere, or close together around some float."""
    count = 2 ** draw(st.integers(1, 5))
    if draw(st.booleans()):
        found = draw(st.sets(finite_bits, min_size=count, max_size=count))
        return sorted(found, key=ref.key)
    limit = 0x7F7FFFFF
    start = draw(st.integers(-limit, limit - 3 * count))
    steps = draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
    keys = np.cumsum([start, *steps[1:]]).tolist()
    keys = [key - 1 if key < 0 else key for key in keys]  # there is no key for -0.0
    return [ref.bits_of_key(key) for key in keys]


@given(codebooks(), st.lists(float_bits, max_size=40), st.data())
@settings(max_examples=300)
def test_keys_mean_the_nearest_centroid(
    centroids: list[int], values: list[int], data: st.DataObject
) -> None:
    ref.check_centroids(centroids)
    keys = [ref.key(bits) for bits in centroids] + ref.thresholds(centroids)
    near = data.draw(st.lists(st.tuples(st.sampled_from(keys), st.integers(-2, 2)), max_size=30))
    values = values + [ref.bits_of_key(key + step) for key, step in near]
    codec = ref.Codec((tuple(centroids),), ref.FLOAT32, (len(values),))
    expected = ref.quantize(codec, values)
    assert ref.quantize_by_keys(codec, values) == expected
    book = sc.Codebook(_array(centroids, "float32"))
    assert book.quantize(_array(values, "float32")).tolist() == expected
    assert book.thresholds.view(np.uint32).tolist() == [
        ref.bits_of_key(key) for key in ref.thresholds(centroids)
    ]
    for dtype, number in ref.DTYPES.items():
        every = list(range(len(centroids)))
        restored = book.dequantize(np.array(every, dtype=np.uint8), dtype)
        expected = ref.restored(centroids, number)
        assert restored.tobytes() == _array(expected, dtype).tobytes()


HALVES = ("float16", "bfloat16")
half_bits = st.integers(0, 2**16 - 1)


@given(codebooks(), st.lists(half_bits, max_size=40), st.sampled_from(HALVES), st.data())
@settings(max_examples=300)
def test_keys_mean_the_nearest_centroid_to_halves(
    centroids: list[int], values: list[int], dtype: str, data: st.DataObject
) -> None:
    number = ref.DTYPES[dtype]
    around = [ref.bits_of_key(key) for key in ref.thresholds(centroids)] + centroids
    near = data.draw(st.lists(st.tuples(st.sampled_from(around), st.integers(-2, 2)), max_size=30))
    values = values + [(ref.narrow(bits, number) + step) % 2**16 for bits, step in near]
    codec = ref.Codec((tuple(centroids),), number, (len(values),))
    expected = ref.quantize(codec, values)
    assert ref.quantize_by_keys(codec, values) == expected
    book = sc.Codebook(_array(centroids, "float32"))
    assert book.quantize(_array(values, dtype)).tolist() == expected


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ["half-tiny", "half-overflow", "bfloat-tiny", "bfloat-overflow"])
def test_every_half(name: str, dtype: str) -> None:
    codec = ref.Codec((tuple(CENTROIDS[name]),), ref.DTYPES[dtype], (2**16,))
    expected = ref.quantize(codec, range(2**16))
    assert ref.quantize_by_keys(codec, range(2**16)) == expected
    book = sc.Codebook(_array(CENTROIDS[name], "float32"))
    assert book.quantize(_array(range(2**16), dtype)).tolist() == expected


@pytest.mark.parametrize("dtype", HALVES)
def test_the_reference_widens_like_everybody(dtype: str) -> None:
    number = ref.DTYPES[dtype]
    found = np.array([ref.widen(bits, number) for bits in range(2**16)], dtype=np.uint32)
    with np.errstate(invalid="ignore"):
        expected = _array(range(2**16), dtype).astype(np.float32)
    nan = np.isnan(expected)
    assert np.array_equal(found[~nan], expected.view(np.uint32)[~nan])
    assert np.isnan(found[nan].view(np.float32)).all()
    assert np.array_equal(found[nan] >> 31, np.flatnonzero(nan) >> 15)


@given(st.lists(finite_bits, min_size=1), st.sampled_from(HALVES), st.data())
def test_the_reference_narrows_like_everybody(
    floats: list[int], dtype: str, data: st.DataObject
) -> None:
    # random floats rarely lie half-way between two halves
    number = ref.DTYPES[dtype]
    unit = 1 << (23 - ref.LAYOUTS[number][1])
    floats += [
        bits // unit * unit + unit // 2 + step
        for bits, step in zip(floats, data.draw(st.lists(st.integers(-1, 1))))
    ]
    with np.errstate(over="ignore"):
        usual = _array(floats, "float32").astype(numpy_dtype(dtype)).view(np.uint16)
    infinity = ref.narrow(0x7F7FFFFF, number) + 1
    expected = [bits - (bits & 0x7FFF == infinity) for bits in usual.tolist()]
    assert [ref.narrow(bits, number) for bits in floats] == expected


# ------------------------------------------------------------------ channels


@st.composite
def channel_codecs(draw: st.DrawFn) -> Any:
    """A codec with several codebooks of the vectors, and a feature."""
    width = draw(st.sampled_from([2, 4, 8]))
    fitting = [name for name, centroids in CENTROIDS.items() if len(centroids) == width]
    names = draw(st.lists(st.sampled_from(fitting), min_size=2, max_size=20))
    shape = draw(st.lists(st.integers(1, 4), max_size=3))
    axis = draw(st.integers(0, len(shape)))
    shape.insert(axis, len(names) * draw(st.integers(1, 3)))
    dtype = draw(st.sampled_from(list(ref.DTYPES)))
    count = ref.elements_of(shape)
    size = 8 * numpy_dtype(dtype).itemsize
    bits = st.integers(0, 2**size - 1)
    if dtype == "int8":
        bits = bits.map(lambda value: value - 128)
    feature = draw(st.lists(bits, min_size=count, max_size=count))
    return {"codebooks": names, "axis": axis, "dtype": dtype, "shape": shape}, feature


@given(channel_codecs())
def test_channels_have_their_own_codebooks(drawn: tuple[dict[str, Any], list[int]]) -> None:
    entry, feature = drawn
    own, array = _reference_codec(entry), _array(feature, entry["dtype"], entry["shape"])
    expected = ref.quantize(own, feature)
    assert ref.quantize_by_keys(own, feature) == expected
    codec = _codec(entry)
    assert codec.id == own.id
    indices = codec.quantize(array)
    assert indices.reshape(-1).tolist() == expected
    restored = _array(ref.dequantize(own, expected), entry["dtype"], entry["shape"])
    assert codec.dequantize(indices).tobytes() == restored.tobytes()
    for full in (False, True):
        frame = codec.encode(array, self_describing=full)
        assert frame == ref.encode_pack(own, feature, full)
        assert codec.decode(frame).tobytes() == restored.tobytes()
        if full:
            assert ref.decode(frame).codec == own
            assert sc.decode(frame).tobytes() == restored.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_most_codebooks(core: Core, dtype: str) -> None:
    steps = np.arange(ref.MAX_GROUPS, dtype=np.float32)
    centroids = np.stack([steps, steps + 1], axis=1)
    shape, number = (ref.MAX_GROUPS,), ref.DTYPES[dtype]
    codec = core.module.Codec(core.module.Codebook(centroids), 0, number, shape)
    own = ref.Codec(tuple(map(tuple, centroids.view(np.uint32).tolist())), number, shape, 0)
    assert codec.id() == own.id
    feature = (steps + np.arange(ref.MAX_GROUPS) % 3 / 2).astype(numpy_dtype(dtype))
    bits = feature.view(f"u{feature.itemsize}").tolist()
    frame = codec.encode(0, 1, feature)
    assert frame == ref.encode_pack(own, bits, self_describing=True)
    found = core.module.codec_from_frame(frame, ref.MAX_GROUPS)
    assert found[0].tobytes() == centroids.tobytes()
    assert found[1:] == (0, number, shape, b"")
    with pytest.raises(errors.ArgumentError):
        core.module.Codebook(np.concatenate([centroids, centroids[:1]]))
    # one more has a place in the bytes, but in no codec
    head = struct.pack("<4B2I", 1, number, 1, 1, ref.MAX_GROUPS + 1, ref.MAX_GROUPS + 1)
    description = head + own.description[12:] + own.description[-8:]
    frame = ref.build_self_describing(description, ref.PACK, bytes(ref.MAX_GROUPS // 8 + 1))
    with pytest.raises(errors.CorruptFrameError):
        core.module.codec_from_frame(frame, ref.MAX_ELEMENTS)
    with pytest.raises(ref.CorruptFrameError):
        ref.decode(frame)


@given(
    st.lists(st.integers(1, 4), max_size=4).flatmap(
        lambda shape: st.tuples(st.just(shape), st.sampled_from([None, *range(len(shape))]))
    )
)
def test_planes_are_channels_rows_and_columns(drawn: tuple[list[int], int | None]) -> None:
    shape, axis = drawn
    elements = np.arange(ref.elements_of(shape)).reshape(shape)
    counts = 0 if axis is None and len(shape) >= 3 else axis
    channels = elements[np.newaxis] if counts is None else np.moveaxis(elements, counts, 0)
    columns = channels.shape[-1] if channels.ndim > 1 else 1
    expected = channels.reshape(len(channels), -1, columns)
    assert ref.planes(shape, axis) == expected.tolist()
    assert ref.channels_of(shape, axis) == len(expected)


def test_planes_of_nothing() -> None:
    assert ref.planes((3, 0, 2), 0) == ref.planes((0,), None) == []


MODELS = [
    ((2, 3), None, 1),
    ((2, 3, 4), None, 2),
    ((2, 3, 4), 1, 3),
    ((5,), 0, 5),
    ((), None, 1),
]


@pytest.mark.parametrize(("shape", "axis", "channels"), MODELS)
@pytest.mark.parametrize("body", [b"", b"\0", bytes(range(256)) * 5])
def test_models_in_descriptions(
    core: Core,
    shape: tuple[int, ...],
    axis: int | None,
    channels: int,
    body: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ref, "REFERENCES", {})  # any body will do
    model = ref.Model(ref.CONTEXT, 2, channels, body)
    assert ref.parse_model(model.whole) == model
    book = tuple(CENTROIDS["relu"])
    own = ref.Codec((book,), ref.FLOAT32, shape, axis, model.whole)
    feature = [book[i % 4] for i in range(own.elements)]
    frame = ref.encode_pack(own, feature, self_describing=True)
    found = core.module.frame_parse(frame)
    assert found["codec_id"] == own.id != own._replace(model=b"").id
    assert (found["model_len"], found["groups"]) == (len(model.whole), 1)
    assert found["axis"] == (-1 if axis is None else axis)
    assert found["payload_len"] == ref.packed_size(own.elements, 2)
    read = ref.decode(frame)
    assert (read.codec, read.feature) == (own, feature)
    assert ref.decode(ref.encode_pack(own, feature), own).feature == feature


def test_codec_ids_tell_models_apart() -> None:
    # of one length, each with its checksum: a CRC over both would be the same for all
    first = FRAMES["context-4-1x3x70"]
    body = bytearray(ref.parse_model(bytes.fromhex(first["model"])).body)
    ids = set()
    for at in range(4, len(body)):
        body[at] ^= 1
        changed = {**first, "model": ref.Model(ref.CONTEXT, 4, 1, bytes(body)).whole.hex()}
        found = _codec(changed).id
        assert found == _reference_codec(changed).id
        ids.add(found)
        body[at] ^= 1
    assert len(ids) == len(body) - 4


def test_references_of_coders_see_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    # a coder of two bytes: the index of the even planes, and of the odd ones
    def decode(payload: bytes, bits: int, planes: Any, body: bytes | None) -> list[int]:
        assert (bits, body) == (2, b"abc")
        sizes = [sum(map(len, plane)) for plane in planes]
        return [payload[i % 2] for i, size in enumerate(sizes) for _ in range(size)]

    def check_body(body: bytes, bits: int, channels: int) -> None:
        if bits != 2 or len(body) != channels:
            raise ref.CorruptFrameError("not a byte for each channel")

    monkeypatch.setitem(ref.REFERENCES, ref.RANS, ref.Reference(check_body, decode))
    model = ref.Model(ref.RANS, 2, 3, b"abc").whole
    codec = ref.Codec((tuple(CENTROIDS["relu"]),), ref.FLOAT32, (4, 3), 1, model)
    frame = ref.build(codec, ref.RANS, b"\1\2", self_describing=True)
    assert ref.decode(frame).indices == ref.decode(frame, codec).indices == [1, 2, 1] * 4
    with pytest.raises(ref.CorruptFrameError, match="shorter"):
        ref.decode(ref.build(codec, ref.RANS, b"\1\2\3"), codec)
    monkeypatch.delitem(ref.REFERENCES, ref.RANGE)
    with pytest.raises(ref.CoderUnavailableError):
        ref.decode(ref.build(codec, ref.RANGE, b"\1\2"), codec)
    wrong = codec._replace(model=ref.Model(ref.RANS, 2, 3, b"ab").whole)
    with pytest.raises(ref.CorruptFrameError, match="each channel"):
        ref.decode(ref.build(wrong, ref.RANS, b"\1\2", self_describing=True))


@given(codebooks())
def test_integers_stand_for_themselves(centroids: list[int]) -> None:
    book = sc.Codebook(_array(centroids, "float32"))
    for dtype, low in (("int8", -128), ("uint8", 0)):
        values = list(range(low, low + 256))
        codec = ref.Codec((tuple(centroids),), ref.DTYPES[dtype], (256,))
        assert book.quantize(np.array(values, dtype=dtype)).tolist() == ref.quantize(codec, values)


# ------------------------------------------------------------------ packing and coders


@pytest.mark.parametrize("bits", range(1, 9))
def test_pack(masked_core: Core, bits: int) -> None:
    rng = random.Random(bits)
    for n in (*range(70), 127, 128, 129, 255, 256, 257, 511, 512, 513, 1000):
        indices = [rng.randrange(1 << bits) for _ in range(n)]
        expected = ref.pack(indices, bits)
        assert masked_core.module.packed_size(n, bits) == len(expected) == ref.packed_size(n, bits)
        packed = np.full(len(expected), 0xAA, dtype=np.uint8)
        masked_core.module.pack(np.array(indices, dtype=np.uint8), bits, packed)
        assert packed.tobytes() == expected
        restored = np.full(n, 0xAA, dtype=np.uint8)
        masked_core.module.unpack(packed, bits, restored)
        assert restored.tolist() == indices == ref.unpack(expected, n, bits)
        for unused in range(n * bits, 8 * len(expected)):
            packed = np.frombuffer(expected, dtype=np.uint8).copy()
            packed[-1] |= 1 << unused % 8
            with pytest.raises(errors.CorruptFrameError):
                masked_core.module.unpack(packed, bits, restored)


@pytest.mark.parametrize("bits", range(1, 9))
def test_packed_size_does_not_overflow(core: Core, bits: int) -> None:
    for n in (ref.MAX_ELEMENTS, ref.MAX_ELEMENTS - 1, 2**28 + 3):
        assert core.module.packed_size(n, bits) == ref.packed_size(n, bits)


@st.composite
def compressible(draw: st.DrawFn) -> list[int]:
    """Indices with repeats, runs and noise."""
    data: list[int] = []
    symbols = draw(st.lists(st.integers(0, 255), min_size=1, max_size=6))
    for _ in range(draw(st.integers(1, 12))):
        if data and draw(st.booleans()):
            start = draw(st.integers(0, len(data) - 1))
            length = draw(st.integers(1, 300))
            data += (data[start:] * (length // (len(data) - start) + 1))[:length]
        else:
            data += draw(st.lists(st.sampled_from(symbols), min_size=1, max_size=30))
    return data


@given(compressible(), st.integers(1, 8))
@settings(max_examples=80)
def test_lzma_payloads_are_read_by_all(data: list[int], bits: int) -> None:
    indices = np.array(data, dtype=np.uint8) & np.uint8((1 << bits) - 1)
    packed = ref.pack(indices.tolist(), bits)
    payloads = {ref.encode_lzma(packed)}
    cores = [_binding("pybind11"), _binding("cffi")]
    for core in cores:
        payload, used = core.module.coder_encode(ref.LZMA, (indices.size,), bits, indices)
        if used == ref.LZMA:
            payloads.add(payload)
        else:
            assert (used, payload) == (ref.PACK, packed)
    for payload in payloads:
        assert payload[0] == 0xFF
        assert _stdlib_lzma(payload, len(packed)) == packed
        if len(payload) >= len(packed):
            continue
        assert ref.decode_lzma(payload, len(packed)) == packed
        for core in cores:
            restored = np.empty_like(indices)
            core.module.coder_decode(ref.LZMA, (indices.size,), bits, payload, restored)
            assert np.array_equal(restored, indices)


def test_lzma_payloads_are_shorter_than_stored_ones(core: Core) -> None:
    rng = random.Random(8)
    saved = set()
    for _ in range(3000):
        run = rng.randrange(1, 12)
        noise = [rng.randrange(256) for _ in range(rng.randrange(30))]
        indices = np.array([*noise, *[noise[-1] if noise else 0] * run], dtype=np.uint8)
        payload, used = core.module.coder_encode(ref.LZMA, (indices.size,), 8, indices)
        if used == ref.LZMA:
            assert len(payload) < indices.size
            saved.add(indices.size - len(payload))
        else:
            assert payload == indices.tobytes()
    assert {1, 2} <= saved  # the border has been met


def _stdlib_lzma(payload: bytes, size: int) -> bytes:
    """Python's own decoder, given the header of section 4.1."""
    dictionary = min(max(size, 4096), 1 << 20)
    header = struct.pack("<BIQB", 0, dictionary, size, 0)
    return lzma.LZMADecompressor(format=lzma.FORMAT_ALONE).decompress(header + payload[1:])


@given(st.data())
@settings(max_examples=400)
def test_damaged_lzma_payloads(data: st.DataObject) -> None:
    # the checksum is out of the way here: liblzma and the reference refuse the same payloads
    packed = bytes(data.draw(compressible()))[:200]
    payload = bytearray(ref.encode_lzma(packed))
    for _ in range(data.draw(st.integers(1, 3))):
        change = data.draw(st.sampled_from(["bit", "byte", "append", "cut"]))
        at = data.draw(st.integers(0, max(len(payload) - 1, 0)))
        if change == "append":
            payload.append(data.draw(st.integers(0, 255)))
        elif payload and change == "cut":
            del payload[at:]
        elif payload and change == "bit":
            payload[at] ^= 1 << data.draw(st.integers(0, 7))
        elif payload:
            payload[at] = data.draw(st.integers(0, 255))
    size = max(len(packed) + data.draw(st.integers(-2, 2)), 1)
    results = []
    for core in (_binding("pybind11"), _binding("cffi")):
        restored = np.empty(size, dtype=np.uint8)
        try:
            core.module.coder_decode(ref.LZMA, (size,), 8, bytes(payload), restored)
            results.append(restored.tobytes())
        except errors.CorruptFrameError:
            results.append(b"")
    try:
        results.append(ref.decode_lzma(bytes(payload), size))
    except ref.CorruptFrameError:
        results.append(b"")
    assert len(set(results)) == 1


@pytest.mark.parametrize("size", [4095, 4096, 4097, 2**20 - 1, 2**20, 2**20 + 1, 2**20 + 2000])
def test_dictionary_edges(core: Core, size: int) -> None:
    # The same noise at both ends tempts into matches as far back as there are bytes; in the longest
    # that is beyond the dictionary, which the reference refuses.
    rng = random.Random(size)
    noise = bytes(rng.randrange(256) for _ in range(400))
    packed = noise + bytes(size - 800) + noise
    indices = np.frombuffer(packed, dtype=np.uint8)
    payload, used = core.module.coder_encode(ref.LZMA, (size,), 8, indices)
    assert used == ref.LZMA
    assert ref.decode_lzma(payload, size) == _stdlib_lzma(payload, size) == packed
    restored = np.empty(size, dtype=np.uint8)
    core.module.coder_decode(ref.LZMA, (size,), 8, payload, restored)
    assert restored.tobytes() == packed


@pytest.mark.parametrize("distance", [4095, 4096, 4097, 2**20 - 1, 2**20])
def test_matches_as_far_as_the_dictionary(core: Core, distance: int) -> None:
    # every reader has to take them, whether or not our encoder writes them
    writer = ref.LzmaWriter()
    rng = random.Random(distance)
    for _ in range(300):
        writer.literal(rng.randrange(256))
    writer.literal(0)
    while len(writer.out) < distance:
        missing = distance - len(writer.out)
        if missing == 1:
            writer.literal(0)
        else:
            writer.match(1, min(273, missing))
    writer.match(distance, 273)
    packed, payload = bytes(writer.out), writer.finish()
    assert packed[:273] == packed[-273:]
    assert ref.decode_lzma(payload, len(packed)) == packed
    restored = np.empty(len(packed), dtype=np.uint8)
    core.module.coder_decode(ref.LZMA, (len(packed),), 8, payload, restored)
    assert restored.tobytes() == packed


@pytest.mark.parametrize("coder", [ref.PACK, ref.LZMA])
@pytest.mark.parametrize("bits", [1, 5, 8])
def test_coders_refuse_what_they_cannot_code(core: Core, coder: int, bits: int) -> None:
    one = np.zeros(1, dtype=np.uint8)
    module = core.module
    for wrong in (0, 9, 255):
        with pytest.raises(errors.ArgumentError):
            module.coder_encode(coder, (1,), wrong, one)
        with pytest.raises(errors.ArgumentError):
            module.coder_decode(coder, (1,), wrong, b"\0", one)
    with pytest.raises(errors.ArgumentError):
        module.coder_encode(coder, (1,) * 9, bits, one)
    with pytest.raises(errors.FrameLimitError):
        module.coder_encode(coder, (2**29,), bits, one)
    with pytest.raises(errors.ArgumentError):
        module.coder_encode(7, (1,), bits, one)
    if bits < 8:
        with pytest.raises(errors.ArgumentError):
            module.coder_encode(coder, (1,), bits, one + np.uint8(1 << bits))
    assert module.coder_encode(coder, (0, 7), bits, one[:0]) == (b"", ref.PACK)


def test_coder_names(core: Core) -> None:
    names = [core.module.coder_name(number) for number in range(7)]
    assert names == [*ref.CODERS, None, None]
    assert core.module.coder_available(0)
    assert not any(core.module.coder_available(number) for number in (5, 127, 255))


def test_crc32c(core: Core) -> None:
    assert core.module.crc32c(b"123456789") == ref.crc32c(b"123456789") == 0xE3069283
    rng = random.Random(5)
    for length in (*range(70), 255, 256, 1000):
        data = bytes(rng.randrange(256) for _ in range(length))
        at = rng.randrange(length + 1)
        whole = core.module.crc32c(data)
        assert whole == ref.crc32c(data)
        assert core.module.crc32c(data[at:], core.module.crc32c(data[:at])) == whole
        assert core.module.crc32c(memoryview(data)) == whole


# ------------------------------------------------------------------ golden frames


def test_golden_frames_through_the_core(masked_core: Core) -> None:
    for name, kind in GOLDEN:
        entry, frame = FRAMES[name], bytes.fromhex(FRAMES[name][kind])
        numbers = _numbers(entry["feature"], entry["dtype"])
        feature = _array(numbers, entry["dtype"], entry["shape"])
        codec = masked_core.codec(entry)
        assert codec.id() == _reference_codec(entry).id, name
        if _asked(name) != "lzma":
            asked = ref.CODERS[_asked(name)]
            for coder in (asked, ref.LZMA) if feature.size == 0 else (asked,):
                assert codec.encode(coder, KINDS[kind], feature) == frame, name
        expected = _expected(name, kind)
        if "indices" in entry:
            assert bytes(expected.indices).hex() == entry["indices"], name
        restored = masked_core.decode(entry, frame)
        want = _array(expected.feature, entry["dtype"], entry["shape"])
        assert restored.tobytes() == want.tobytes(), name
        assert len(frame) <= codec.bound(KINDS[kind])


def test_golden_frames_through_python() -> None:
    for name, kind in GOLDEN:
        entry, frame = FRAMES[name], bytes.fromhex(FRAMES[name][kind])
        feature = _array(_numbers(entry["feature"], entry["dtype"]), entry["dtype"], entry["shape"])
        codec = _codec(entry, "pack" if _asked(name) == "lzma" else _asked(name))
        full = kind == "self_describing"
        if _asked(name) != "lzma":
            assert codec.encode(feature, self_describing=full) == frame, name
            if full and codec.slice_of is None:
                agreed = {"channel_axis": codec.channel_axis, "model": codec.model}
                found = sc.encode(feature, codec.codebook, codec.coder, **agreed)
                assert found == frame, name
        assert codec.quantize(feature).reshape(-1).tolist() == _expected(name, kind).indices
        expected = _array(_expected(name, kind).feature, entry["dtype"], entry["shape"])
        restored = codec.decode(frame)
        assert (restored.dtype, restored.shape) == (feature.dtype, feature.shape), name
        assert restored.tobytes() == expected.tobytes(), name
        info = sc.inspect(frame)
        assert (info.self_describing, info.codec_id) == (full, codec.id)
        assert info.coder == entry.get("coder", _asked(name))
        assert info.frame_len == len(frame)
        if full:
            assert (info.bits, info.dtype, info.shape) == (codec.bits, codec.dtype, codec.shape)
            assert info.codebooks == len(_codebooks(entry))
            assert info.channel_axis == codec.channel_axis == entry.get("axis")
            assert info.slice_of == codec.slice_of == _slice_of(entry)
            restored = sc.decode(frame)
            assert (restored.dtype, restored.shape) == (feature.dtype, feature.shape), name
            assert restored.tobytes() == expected.tobytes(), name
        else:
            assert (info.bits, info.dtype, info.shape) == (None, None, None)
            assert (info.codebooks, info.channel_axis, info.slice_of) == (None, None, None)
            with pytest.raises(errors.FrameError, match=f"{codec.id:08x}"):
                sc.decode(frame)


def test_reference_encodes_the_golden_frames() -> None:
    for name, entry in FRAMES.items():
        if _asked(name) == "lzma":
            continue
        codec, feature = _reference_codec(entry), _numbers(entry["feature"], entry["dtype"])
        if len(feature) << codec.bits > 20_000:  # the generator has done these
            continue
        assert _encode_by_reference(name, codec, feature).hex() == entry["compact"]


def test_frame_fields(core: Core) -> None:
    for name, kind in GOLDEN:
        frame = bytes.fromhex(FRAMES[name][kind])
        found = core.module.frame_parse(frame)
        assert found["kind"] == KINDS[kind]
        assert found["payload_offset"] + found["payload_len"] + 4 == len(frame)
        if kind == "self_describing":
            assert core.module.frame_length(frame) == len(frame)
            assert core.module.frame_length(frame[:8] + b"rest") == len(frame)
            entry = FRAMES[name]
            elements = ref.elements_of(entry["shape"])
            centroids, axis, dtype, shape, model = core.module.codec_from_frame(frame, elements)
            if elements:
                with pytest.raises(errors.FrameLimitError):
                    core.module.codec_from_frame(frame, elements - 1)
            assert tuple(map(tuple, centroids.view(np.uint32).tolist())) == _codebooks(entry)
            assert (dtype, shape) == (ref.DTYPES[entry["dtype"]], tuple(entry["shape"]))
            assert axis == found["axis"] == entry.get("axis", -1)
            assert found["groups"] == len(_codebooks(entry))
            assert (model.hex(), found["model_len"]) == (entry.get("model", ""), len(model))
            assert found["slice"] == (_slice_of(entry) or (0, 0))
        else:
            assert (found["axis"], found["groups"], found["model_len"]) == (-1, 0, 0)
            assert found["slice"] == (0, 0)


def test_any_bytes_like_object_is_a_frame(core: Core) -> None:
    entry = FRAMES["shape-2x3"]
    frame = bytes.fromhex(entry["self_describing"])
    expected = core.decode(entry, frame).tobytes()
    misaligned = memoryview(b"?" + frame + b"?")[1:-1]
    for like in (bytearray(frame), memoryview(frame), misaligned, np.frombuffer(frame, np.uint8)):
        assert core.decode(entry, like).tobytes() == expected
        assert sc.decode(like).tobytes() == expected
        assert sc.inspect(like).frame_len == len(frame)


# ------------------------------------------------------------------ bytes to refuse


def _refusal(call: Any) -> str | None:
    """Name of the exception of this package that `call` raises; others pass through."""
    try:
        call()
    except errors.SplitCodecError as error:
        return type(error).__name__
    return None


@pytest.mark.parametrize("name", BAD)
def test_bad_frames(core: Core, name: str) -> None:
    entry = BAD[name]
    frame, limit = bytes.fromhex(entry["frame"]), entry.get("max_elements", 1 << 26)
    with _reference_errors() as refused:
        ref.decode(frame, None, limit)
    assert refused == [entry["error"]]
    with _reference_errors() as refused:
        ref.decode(frame, _reference_codec(entry))
    assert refused == [entry["error_with_codec"]]
    assert _refusal(lambda: _codec(entry).decode(frame)) == entry["error_with_codec"]
    assert _refusal(lambda: core.decode(entry, frame)) == entry["error_with_codec"]
    expected = entry["error"]
    if expected == "CorruptFrameError" and _lacks_coder_of_model(core, frame):
        expected = "CoderUnavailableError"
    assert _refusal(lambda: sc.decode(frame, max_elements=limit)) == expected
    # the core without a codec: the description, then the payload
    status = _refusal(lambda: _decode_without_codec(core, frame, limit))
    assert status == ("ArgumentError" if expected == "FrameError" else expected)


def _lacks_coder_of_model(core: Core, frame: bytes) -> bool:
    """Whether the frame holds a model of which this build cannot say more than whose it is."""
    try:
        found = core.module.frame_parse(frame)
        end = found["payload_offset"] - 1
        model = ref.parse_model(frame[end - found["model_len"] : end])
    except (errors.FrameError, ref.CorruptFrameError):
        return False
    return not core.module.coder_available(model.coder)


def _decode_without_codec(core: Core, frame: bytes, limit: int) -> None:
    centroids, axis, dtype, shape, model = core.module.codec_from_frame(frame, limit)
    own = core.module.Model(model) if model else None
    slice_of = core.module.frame_parse(frame)["slice"]
    book = core.module.Codebook(centroids)
    codec = core.module.Codec(book, axis, dtype, shape, own, slice_of)
    names = {number: name for name, number in ref.DTYPES.items()}
    codec.decode(frame, np.empty(shape, dtype=numpy_dtype(names[dtype])))


@contextlib.contextmanager
def _reference_errors() -> Iterator[list[str | None]]:
    refused: list[str | None] = []
    try:
        yield refused
        refused.append(None)
    except (ref.FrameError, ref.CoderUnavailableError) as error:
        refused.append(type(error).__name__)


def _must_refuse(decode: Any, frame: bytes, what: str) -> str:
    try:
        decode(frame)
    except errors.FrameError as error:
        return type(error).__name__
    raise AssertionError(f"{what} is accepted")


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation_is_refused(core: Core, kind: str) -> None:
    for name in FRAMES:
        if kind not in FRAMES[name]:
            continue
        entry, frame = FRAMES[name], bytes.fromhex(FRAMES[name][kind])
        read = functools.partial(core.codec(entry).decode, out=_empty(entry))
        for length in range(len(frame)):
            cut = frame[:length]
            found = _must_refuse(read, cut, f"{name}[:{length}]")
            if kind == "self_describing":
                assert found == "TruncatedFrameError"
                assert _must_refuse(sc.decode, cut, name) == found
            else:
                assert found == ("TruncatedFrameError" if length < 10 else "ChecksumError")


@pytest.mark.parametrize("kind", KINDS)
def test_every_flipped_bit_is_refused(core: Core, kind: str) -> None:
    tried = frames = 0
    for name in FRAMES:
        if kind not in FRAMES[name]:
            continue
        entry, frame = FRAMES[name], bytes.fromhex(FRAMES[name][kind])
        read = functools.partial(core.codec(entry).decode, out=_empty(entry))
        damaged = bytearray(frame)
        for bit in range(8 * len(frame)):
            damaged[bit // 8] ^= 1 << bit % 8
            found = _must_refuse(read, damaged, f"{name} bit {bit}")
            damaged[bit // 8] ^= 1 << bit % 8
            assert found in _errors_of_flip(kind, bit // 8)
        assert damaged == frame
        tried, frames = tried + 8 * len(frame), frames + 1
    assert frames >= 50
    assert tried >= 50_000


def _errors_of_flip(kind: str, byte: int) -> set[str]:
    """What the order of checks makes of one damaged bit."""
    if kind == "compact":
        return {"NotAFrameError", "FrameVersionError"} if byte == 0 else {"ChecksumError"}
    if byte < 4:
        return {"NotAFrameError"} if byte < 3 else {"FrameVersionError"}
    return {"TruncatedFrameError"} if byte < 8 else {"ChecksumError"}


@pytest.mark.parametrize("kind", KINDS)
def test_damage_through_python(kind: str) -> None:
    rng = random.Random(f"damage {kind}")
    for name in FRAMES:
        if kind not in FRAMES[name]:
            continue
        entry, frame = FRAMES[name], bytes.fromhex(FRAMES[name][kind])
        codec = _codec(entry)
        readers = [codec.decode] + [sc.decode] * (kind == "self_describing")
        reference_codec = _reference_codec(entry)
        for bit in rng.sample(range(8 * len(frame)), 60):
            damaged = bytearray(frame)
            damaged[bit // 8] ^= 1 << bit % 8
            found = {_must_refuse(read, bytes(damaged), f"{name} bit {bit}") for read in readers}
            if bit % 3 == 0 and len(frame) < 200:
                with _reference_errors() as refused:
                    ref.decode(damaged, reference_codec)
                found.add(refused[0] or "")
            assert len(found) == 1, name


def test_trailing_bytes_are_refused(core: Core) -> None:
    for name, kind in GOLDEN:
        entry, frame = FRAMES[name], bytes.fromhex(FRAMES[name][kind])
        expected = "TruncatedFrameError" if kind == "self_describing" else "ChecksumError"
        readers = [lambda data, entry=entry: core.decode(entry, data), _codec(entry).decode]
        if kind == "self_describing":
            readers.append(sc.decode)
        for extra in (b"\0", b"\xff", frame[-4:], frame):
            for read in readers:
                assert _must_refuse(read, frame + extra, name) == expected


@given(st.binary(max_size=80), st.sampled_from([b"", b"\xc1", b"\xc1\0", b"SPC\1", b"SPC", b"SP"]))
@settings(max_examples=400)
def test_random_bytes(data: bytes, start: bytes) -> None:
    frame = start + data
    entry = FRAMES["shape-2x3"]
    with _reference_errors() as refused:
        ref.decode(frame, _reference_codec(entry))
    assert refused[0] is not None
    for core in (_binding("pybind11"), _binding("cffi")):
        found = _must_refuse(lambda frame, core=core: core.decode(entry, frame), frame, "noise")
        assert found == refused[0]
    assert _must_refuse(sc.decode, frame, "noise") == found


MOULDS = (
    *("shape-2x3", "shape-0", "lzma-sparse-2-reference", "narrow-2-9"),
    *("channels-2x3x4-1-3-1-float16", "channels-0x4-1-2-1-int8", "lzma-channels-groups"),
    *("channels-3x4x5-1-1-2-int8", "slices-2x3x4-0-2-of-6", "slices-2x3x4-0-1-of-3"),
)


@given(st.data())
@settings(max_examples=800)
def test_random_content_with_right_checksum(data: st.DataObject) -> None:
    # what an author of frames can do: everything behind the checksum has to hold by itself
    entry = FRAMES[data.draw(st.sampled_from(MOULDS))]
    full = data.draw(st.booleans())
    body = bytearray(bytes.fromhex(entry["self_describing" if full else "compact"])[:-4])
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        change = data.draw(st.sampled_from(["set", "insert", "delete"]))
        if change == "set":
            body[at] = data.draw(st.integers(0, 255))
        elif change == "insert":
            body.insert(at, data.draw(st.integers(0, 255)))
        elif len(body) > 8:
            del body[at]
    if full and data.draw(st.booleans()):
        body[4:8] = struct.pack("<I", len(body) + 4)
    frame = ref.with_checksum(bytes(body))
    limit = 1000
    outcomes: list[Any] = []
    for codec in (None, _reference_codec(entry)):
        try:
            outcomes.append(ref.decode(frame, codec, limit).feature)
        except (ref.FrameError, ref.CoderUnavailableError) as error:
            outcomes.append(type(error).__name__)
    if "CoderUnavailableError" in outcomes and sc.coders().get(sc.inspect(frame).coder):
        return  # of a coder that has tests of its own

    def outcome(read: Any) -> Any:
        try:
            restored = np.ascontiguousarray(read(frame))
        except errors.SplitCodecError as error:
            return type(error).__name__
        kind = restored.dtype if restored.dtype.kind in "iu" else f"u{restored.itemsize}"
        return restored.view(kind).reshape(-1).tolist()

    assert outcome(lambda frame: sc.decode(frame, max_elements=limit)) == outcomes[0]
    assert outcome(_codec(entry).decode) == outcomes[1]
    for core in (_binding("pybind11"), _binding("cffi")):
        assert outcome(lambda frame, core=core: core.decode(entry, frame)) == outcomes[1]


@pytest.mark.parametrize("call", ["frame_parse", "frame_length", "crc32c"])
def test_bindings_refuse_the_same_objects(core: Core, call: str) -> None:
    function = getattr(core.module, call)
    for wrong in (None, 5, "SPC", [1, 2]):
        with pytest.raises(TypeError):
            function(wrong)
    with pytest.raises(BufferError):
        function(memoryview(b"SPC\1SPC\1SPC\1")[::2])


def test_bindings_refuse_the_same_codecs(core: Core) -> None:
    module = core.module
    for count in (0, 1, 3, 5, 255, 257, 512):
        with pytest.raises(errors.ArgumentError):
            module.Codebook(np.arange(count, dtype=np.float32))
    for wrong in ([0, 0], [1, 0], [0, np.nan], [-np.inf, 0], [-0.0, 1], [0, np.inf]):
        with pytest.raises(errors.CodebookError):
            module.Codebook(np.array(wrong, dtype=np.float32))
    book = module.Codebook(np.array([0, 1], dtype=np.float32))
    for dtype in (5, 255):
        with pytest.raises(errors.ArgumentError):
            module.Codec(book, -1, dtype, (1,))
    with pytest.raises(errors.ArgumentError):
        module.Codec(book, -1, 0, (1,) * 9)
    for shape in ((2**29,), (2**16, 2**16), (0, 2**29), (2**31, 2**31, 2**31)):
        with pytest.raises(errors.FrameLimitError):
            module.Codec(book, -1, 0, shape)
    for axis, shape in ((0, ()), (1, (2,)), (1, (2, 0)), (2**31 - 1, (2,))):
        with pytest.raises(errors.ArgumentError):
            module.Codec(book, axis, 0, shape)
    for axis, slice_of in (
        (-1, (0, 3)),
        (0, (0, 2)),
        (0, (2, 3)),
        (0, (2**32 - 1, 4)),
        (0, (0, 1)),
    ):
        with pytest.raises(errors.ArgumentError):
            module.Codec(book, axis, 0, (2, 5), None, slice_of)
    with pytest.raises(errors.FrameLimitError):
        module.Codec(book, 0, 0, (2, 5), None, (0, 2**29 // 5 + 1))
    two = module.Codebook(np.array([[0, 1], [0, 2]], dtype=np.float32))
    for axis, shape in ((-1, (2,)), (0, ()), (1, (2,)), (0, (3, 2)), (1, (2, 3)), (1, (2, 0))):
        with pytest.raises(errors.ArgumentError):
            module.Codec(two, axis, 0, shape)
    with pytest.raises(errors.CodebookError):
        module.Codebook(np.array([[0, 1], [1, 1]], dtype=np.float32))
    with pytest.raises(errors.ArgumentError):
        module.Codebook(np.zeros((2, 3), dtype=np.float32))
    codec = module.Codec(book, -1, 0, (2,))
    good = np.zeros(2, dtype=np.float32)
    frame = codec.encode(0, 0, good)
    with pytest.raises(errors.ArgumentError):
        codec.encode(9, 0, good)
    with pytest.raises(errors.ArgumentError):
        codec.encode(0, 2, good)
    swapped = good.astype(good.dtype.newbyteorder())
    misaligned = np.zeros(9, dtype=np.uint8)[1:].view(np.float32)
    wrong_arrays = (None, [0, 1], good[:1], good.reshape(2, 1), good.astype(np.float64), swapped)
    for array in (*wrong_arrays, np.zeros(4, np.float32)[::2], misaligned, np.zeros(2, np.int32)):
        assert codec.encode(0, 0, array) is None
        assert codec.decode(frame, array) is False


# ------------------------------------------------------------------ the page


def _hexdump(name: str) -> bytes:
    text = FORMAT.read_text(encoding="utf-8")
    block = re.search(rf"```hexdump {name}\n(.*?)```", text, re.DOTALL)
    assert block is not None
    data = bytearray()
    for line in block[1].splitlines():
        address, _, digits = line.partition("  ")
        assert int(address, 16) == len(data)
        data += bytes.fromhex(digits)
    return bytes(data)


def _listing(name: str) -> bytes:
    """The bytes that the annotated listing behind a hexdump says."""
    _, _, rest = FORMAT.read_text(encoding="utf-8").partition(f"```hexdump {name}\n")
    listing = re.search(r"(?:^    .+\n)+", rest, re.MULTILINE)
    assert listing is not None
    return bytes.fromhex("".join(line[4:17] for line in listing[0].splitlines()))


def test_example_of_the_page() -> None:
    feature = np.array([[-2.0, 0.1, 3.0], [0.6, 1.4, -0.7]], dtype=np.float32)
    codec = sc.Codec(sc.Codebook([-1, 0, 1, 2]), "pack", shape=(2, 3))
    text = FORMAT.read_text(encoding="utf-8")
    assert f"codec id is {codec.id:#010x}" in text
    assert codec.codebook.thresholds.tolist() == [-0.5, 0.5, 1.5]
    assert codec.codebook.quantize(feature).tolist() == [[0, 1, 3], [2, 2, 0]]
    compact, full = _hexdump("compact"), _hexdump("self-describing")
    assert codec.encode(feature) == compact
    assert codec.encode(feature, self_describing=True) == full
    expected = [[-1, 0, 2], [1, 1, -1]]
    assert codec.decode(compact).tolist() == sc.decode(full).tolist() == expected
    assert _listing("compact") == compact
    assert _listing("self-describing") == full


def test_channels_example_of_the_page() -> None:
    feature = np.array([[0.25, 0.5, 7], [0.25, 5.5, 7]], dtype=np.float16)
    books = [sc.Codebook([0, 1]), sc.Codebook([0, 10])]
    codec = sc.Codec(books, "pack", shape=(2, 3), dtype="float16", channel_axis=0)
    assert [book.thresholds.tolist() for book in books] == [[0.5], [5]]
    assert codec.quantize(feature).tolist() == [[0, 0, 1], [0, 1, 1]]
    frame = _hexdump("channels")
    assert codec.encode(feature, self_describing=True) == frame == _listing("channels")
    assert sc.decode(frame).dtype == np.float16
    assert codec.decode(frame).tolist() == sc.decode(frame).tolist() == [[0, 0, 1], [0, 10, 10]]


def test_channels_rows_and_columns_of_the_page() -> None:
    text = FORMAT.read_text(encoding="utf-8")
    _, _, rest = text.partition("| shape | axis | channels | rows | columns |")
    table, _, _ = rest.partition("\n\n")
    rows = re.findall(r"^\| (.+) \| (.*\w) \| (\d+) \| (\d+) \| (\d+) \|$", table, re.MULTILINE)
    assert len(rows) == 8
    for shape, axes, *counts in rows:
        dims = [int(dim) for dim in re.findall(r"\d+", shape)]
        for axis in axes.split(", or "):
            seen = ref.planes(dims, None if axis == "none" else int(axis))
            assert [len(seen), len(seen[0]), len(seen[0][0])] == [int(count) for count in counts]


def test_lzma_example_of_the_page() -> None:
    frame = _hexdump("lzma")
    codec = sc.Codec(sc.Codebook([0, 1]), "lzma", shape=(128,), dtype="uint8")
    assert codec.decode(frame).tolist() == [0] * 128
    assert sc.inspect(frame).coder == "lzma"
    assert sc.inspect(frame).payload_len == 7


def test_key_example_of_the_page() -> None:
    assert [ref.key(bits) for bits in (0, 0x80000000, 0x3F800000)] == [0, -1, 0x3F800000]
    for _ in range(100):
        keys = range(-(2**31), 2**31, 2**24 + 1)
        assert [ref.key(ref.bits_of_key(key)) for key in keys] == list(keys)
