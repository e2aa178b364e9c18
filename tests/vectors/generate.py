"""Golden vectors of wire format version 1, from tests/reference alone.

    python tests/vectors/generate.py            compare the files with what the reference gives
    python tests/vectors/generate.py --write    write the files

The payloads that liblzma wrote once are taken from lzma.json as they are, and checked.
A released vector is never rewritten: a difference means that the reference or this script is wrong.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "reference")]

import context  # noqa: E402
import range_vectors  # noqa: E402
import reference as ref  # noqa: E402

# Every length at which a group of 8, a SIMD block or a byte of the payload begins or ends.
LENGTHS = (
    *(1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65),
    *(127, 128, 129, 255, 256, 257, 511, 512, 513),
)
DTYPE_NAMES = {number: name for name, number in ref.DTYPES.items()}
NARROW = (ref.FLOAT16, ref.BFLOAT16)

NAN_AND_EXTREMES = (
    *(0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF),  # NaNs
    *(0x7FBFFFFF, 0xFFBFFFFF),  # signalling NaNs with every payload bit set
    *(0x7F800000, 0xFF800000, 0x7F7FFFFF, 0xFF7FFFFF),  # infinities, largest
    *(0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x00000002, 0x80000002),  # zeros, smallest
    *(0x007FFFFF, 0x807FFFFF, 0x00800000, 0x80800000),  # last denormals, first normals
    *(0x3F800000, 0xBF800000, 0x3F000000, 0xBF000000, 0x43000000, 0xC3000000),
)


def float_bits(value: float) -> int:
    """Bits of a value that a float32 holds exactly."""
    packed = struct.pack("<f", value)
    assert struct.unpack("<f", packed)[0] == value
    return int(struct.unpack("<I", packed)[0])


def hex32(values: Iterable[int]) -> str:
    return "".join(f"{value & 0xFFFFFFFF:08x}" for value in values)


def hex16(values: Iterable[int]) -> str:
    return "".join(f"{value:04x}" for value in values)


def hex8(values: Iterable[int]) -> str:
    return "".join(f"{value & 0xFF:02x}" for value in values)


def feature_hex(dtype: int, feature: Iterable[int]) -> str:
    if dtype == ref.FLOAT32:
        return hex32(feature)
    return hex16(feature) if dtype in NARROW else hex8(feature)


# ------------------------------------------------------------------ codebooks


def codebooks() -> dict[str, list[int]]:
    tables: dict[str, list[int]] = {}
    for bits in range(1, 9):
        rng = random.Random(f"levels-{bits}")
        steps = rng.sample(range(-150 * 64, 280 * 64), 1 << bits)
        tables[f"levels-{bits}"] = [float_bits(step / 64) for step in sorted(steps)]
    tables["int8"] = [float_bits(value) for value in range(-128, 128)]
    tables["uint8"] = [float_bits(value) for value in range(256)]
    tables["symmetric"] = [float_bits(value) for value in (-1, 1)]
    tables["relu"] = [float_bits(value) for value in (0, 0.5, 1.25, 6)]
    tables["halves"] = [float_bits(value) for value in (-2.5, -1.5, -0.5, 0.5)]
    tables["below-half"] = [0xBF000001, 0xBEFFFFFF, 0x3EFFFFFF, 0x3F000001]
    tables["clamped"] = [
        *(float_bits(value) for value in (-1e9, -128.5, -128, -0.5)),
        *(float_bits(value) for value in (127.5, 254.5, 255.5)),
        0x7F7FFFFF,
    ]
    tables["clamp-edge"] = [0xC300FFFF, 0xC3008000, 0x42FEFFFF, 0x437F7FFF]
    # Midpoints between neighbours are no floats: rounded to nearest, thresholds would coincide.
    tables["adjacent"] = [0x3F800000, 0x3F800001, 0x3F800002, 0x3F800003]
    tables["adjacent-negative"] = [0xBF800003, 0xBF800002, 0xBF800001, 0xBF800000]
    tables["adjacent-step"] = [0x3F7FFFFC + i for i in range(8)]  # across a power of two
    tables["adjacent-zero"] = [
        *(0x80000002, 0x80000001, 0x00000000, 0x00000001),
        *(0x00000002, 0x00000003, 0x00000004, 0x00000005),
    ]
    tables["denormal-signs"] = [0x80000001, 0x00000001]
    tables["denormal-below"] = [0x80000001, 0x00000000]  # midpoint -2**-150
    tables["denormal-above"] = [0x00000000, 0x00000001]  # midpoint +2**-150
    tables["denormal-normal"] = [0x007FFFFE, 0x007FFFFF, 0x00800000, 0x00800001]
    # Sums beyond the largest float.
    tables["huge"] = [0xFF7FFFFF, 0xFF7FFFFE, 0x7F7FFFFE, 0x7F7FFFFF]
    tables["huge-symmetric"] = [0xFF7FFFFF, 0x7F7FFFFF]
    # Midpoints that lie within 2**-150 of a float: a rounded sum cannot tell on which side.
    tables["two-sum"] = [0xBF800000, 0x80000001, 0x00000001, 0x3F800000]
    tables["two-sum-down"] = [0x80000001, 0x3F800000]
    tables["two-sum-up"] = [0xBF800000, 0x00000001]
    tables["two-sum-tie"] = [0x00000001, 0x3F800001]
    tables["two-sum-wide"] = [0xFF7FFFFF, 0x80000001, 0x00800000, 0x7F7FFFFF]
    tables["magnitudes"] = [
        *(0x00000000, 0x00000001, 0x00800000, 0x2B8CBCCC),
        *(0x3F800000, 0x4B800001, 0x5F000000, 0x7F7FFFFF),
    ]
    return tables


def narrow_codebooks() -> dict[str, list[int]]:
    """Centroids on which rounding to a 16-bit float goes wrong."""
    tables: dict[str, list[int]] = {}
    # Half a unit beside 1 and beside the next, with the floats around.
    tables["half-ties"] = [
        *(0xBF803000, 0xBF801000),
        *(0x3F800FFF, 0x3F801000, 0x3F801001, 0x3F802FFF, 0x3F803000, 0x3F803001),
    ]
    tables["bfloat-ties"] = [
        *(0xBF818000, 0xBF808000),
        *(0x3F807FFF, 0x3F808000, 0x3F808001, 0x3F817FFF, 0x3F818000, 0x3F818001),
    ]
    # The largest, half a unit above it, where infinity would be, and beyond.
    tables["half-overflow"] = [
        *(0xFF7FFFFF, 0xC7800000, 0xC77FF000, 0xC77FE000),
        *(0x477FE001, 0x477FEFFF, 0x477FF000, 0x47800000),
    ]
    tables["bfloat-overflow"] = [
        *(0xFF7FFFFF, 0xFF7F8000, 0xFF7F7FFF, 0xFF7F0000),
        *(0x7F7F0001, 0x7F7F7FFF, 0x7F7F8000, 0x7F7FFFFF),
    ]
    # Between zero and the least; denormals; between the last denormal and the first normal.
    tables["half-tiny"] = [
        *(0xB3400000, 0xB3000001, 0xB3000000, 0x00000001),
        *(0x33000000, 0x33000001, 0x33C00000, 0x387FE000),
    ]
    tables["bfloat-tiny"] = [
        *(0x8000C000, 0x80008001, 0x80008000, 0x00000001),
        *(0x00008000, 0x00008001, 0x00018000, 0x007F8000),
    ]
    return tables


def other_codebooks() -> dict[str, list[int]]:
    """For codecs with several, in the widths of which there is but one so far."""
    tables: dict[str, list[int]] = {}
    for bits in range(4, 8):
        rng = random.Random(f"others-{bits}")
        steps = rng.sample(range(-150 * 64, 280 * 64), 1 << bits)
        tables[f"others-{bits}"] = [float_bits(step / 64) for step in sorted(steps)]
    return tables


FLOAT32_BOOKS = codebooks()
BOOKS = {**FLOAT32_BOOKS, **narrow_codebooks(), **other_codebooks()}


def codebook_entries() -> Iterator[dict[str, Any]]:
    for name, centroids in BOOKS.items():
        ref.check_centroids(centroids)
        keys = ref.thresholds(centroids)
        outputs = {
            DTYPE_NAMES[dtype]: hex8(ref.restored(centroids, dtype))
            for dtype in (ref.INT8, ref.UINT8)
        }
        yield {
            "name": name,
            "centroids": hex32(centroids),
            "thresholds": hex32(map(ref.bits_of_key, keys)),
            **outputs,
        }


def codec_of(
    books: str | Sequence[str],
    dtype: int,
    shape: Sequence[int],
    axis: int | None = None,
    model: bytes = b"",
    slice_of: tuple[int, int] | None = None,
) -> ref.Codec:
    names = [books] if isinstance(books, str) else books
    tables = tuple(tuple(BOOKS[name]) for name in names)
    return ref.Codec(tables, dtype, tuple(shape), axis, model, slice_of)


def codec_words(codec: ref.Codec) -> dict[str, Any]:
    """The codec as an entry has it."""
    names = [
        next(name for name, table in BOOKS.items() if tuple(table) == centroids)
        for centroids in codec.codebooks
    ]
    with_axis: dict[str, Any] = {"codebooks": names, "axis": codec.axis}
    if codec.slice_of is not None:
        with_axis["slice_of"] = list(codec.slice_of)
    return {
        **({"codebook": names[0]} if codec.axis is None else with_axis),
        "dtype": DTYPE_NAMES[codec.dtype],
        "shape": list(codec.shape),
        **({"model": codec.model.hex()} if codec.model else {}),
    }


# ------------------------------------------------------------------ quantiser


def telling_values(centroids: Sequence[int]) -> list[int]:
    """Floats at and next to thresholds and centroids, and everything that is special."""
    keys = ref.thresholds(centroids) + [ref.key(bits) for bits in centroids]
    if len(keys) > 64:
        keys = keys[:: len(keys) // 61]
    around = [ref.bits_of_key(key + step) for key in keys for step in (-1, 0, 1)]
    return [*NAN_AND_EXTREMES, *dict.fromkeys(around)]


def beside(half: int, step: int) -> int:
    """The 16-bit float so many places above a finite one; -0.0 and 0.0 are two."""
    place = (half if half < 0x8000 else 0x7FFF - half) + step
    return place if place >= 0 else 0x7FFF - place


def telling_halves(centroids: Sequence[int], dtype: int) -> list[int]:
    """The same in a 16-bit type: at and next to what is nearest to thresholds and centroids."""
    exponent_width, fraction_width = ref.LAYOUTS[dtype]
    infinity = ((1 << exponent_width) - 1) << fraction_width
    positive = (
        *(infinity, infinity + 1, infinity + (1 << (fraction_width - 1)), 0x7FFF),  # and NaNs
        *(infinity - 1, 0, 1, (1 << fraction_width) - 1, 1 << fraction_width),
    )
    floats = [ref.bits_of_key(key) for key in ref.thresholds(centroids)] + list(centroids)
    if len(floats) > 16:
        floats = floats[:: len(floats) // 13]
    around = (beside(ref.narrow(bits, dtype), step) for bits in floats for step in (-1, 0, 1))
    return list(dict.fromkeys([*positive, *(0x8000 | half for half in positive), *around]))


def narrow_entries() -> Iterator[dict[str, Any]]:
    for (name, centroids), dtype in itertools.product(BOOKS.items(), NARROW):
        codec = codec_of(name, dtype, ())
        values = telling_halves(centroids, dtype)
        indices = ref.quantize(codec, values)
        assert indices == ref.quantize_by_keys(codec, values), name
        yield {
            "codebook": name,
            "dtype": DTYPE_NAMES[dtype],
            "values": hex16(values),
            "indices": hex8(indices),
            "restored": hex16(ref.restored(centroids, dtype)),
        }


def quantize_entries() -> Iterator[dict[str, Any]]:
    for name, centroids in FLOAT32_BOOKS.items():
        codec = codec_of(name, ref.FLOAT32, ())
        values = telling_values(centroids)
        indices = ref.quantize(codec, values)
        assert indices == ref.quantize_by_keys(codec, values), name
        yield {
            "codebook": name,
            "dtype": "float32",
            "values": hex32(values),
            "indices": hex8(indices),
        }
    for name in ("levels-3", "levels-8", "symmetric", "halves", "clamped", "two-sum-wide"):
        for dtype, integers in ((ref.INT8, range(-128, 128)), (ref.UINT8, range(256))):
            codec = codec_of(name, dtype, ())
            indices = ref.quantize(codec, integers)
            assert indices == ref.quantize_by_keys(codec, integers), name
            yield {
                "codebook": name,
                "dtype": DTYPE_NAMES[dtype],
                "values": hex8(integers),
                "indices": hex8(indices),
            }


# ------------------------------------------------------------------ frames


def random_feature(rng: random.Random, dtype: int, count: int) -> list[int]:
    if dtype in ref.LAYOUTS:
        floats = [float_bits(rng.randrange(-160 * 64, 290 * 64) / 64) for _ in range(count)]
        return floats if dtype == ref.FLOAT32 else [ref.narrow(bits, dtype) for bits in floats]
    low = -128 if dtype == ref.INT8 else 0
    return [rng.randrange(low, low + 256) for _ in range(count)]


def pack_entry(
    name: str, book: str, dtype: int, shape: Sequence[int], feature: Sequence[int], full: bool
) -> dict[str, Any]:
    return frame_entry(name, codec_of(book, dtype, shape), feature, full)


def frame_entry(name: str, codec: ref.Codec, feature: Sequence[int], full: bool) -> dict[str, Any]:
    assert len(feature) == codec.elements
    indices = ref.quantize(codec, feature)
    assert indices == ref.quantize_by_keys(codec, feature), name
    entry = {
        "name": name,
        **codec_words(codec),
        "feature": feature_hex(codec.dtype, feature),
        "indices": hex8(indices),
        "compact": ref.encode_pack(codec, feature).hex(),
    }
    if full:
        entry["self_describing"] = ref.encode_pack(codec, feature, self_describing=True).hex()
    return entry


def without_long_indices(entry: dict[str, Any], elements: int) -> dict[str, Any]:
    """For their size: the payload says them."""
    return {key: value for key, value in entry.items() if key != "indices" or elements <= 16}


def pack_entries() -> Iterator[dict[str, Any]]:
    dtypes = (ref.INT8, ref.UINT8, ref.FLOAT32)
    for bits in range(1, 9):
        for at, length in enumerate(LENGTHS):
            # floats take four times the room: leave the long ones to every fourth width
            dtype = dtypes[(bits + at) % (3 if length <= 65 or bits in (3, 8) else 2)]
            name = f"length-{bits}-{length}"
            feature = random_feature(random.Random(name), dtype, length)
            full = bits <= (3 if length <= 65 else 2)
            entry = pack_entry(name, f"levels-{bits}", dtype, [length], feature, full)
            if length > 65:  # for their size: the payload says them
                del entry["indices"]
            yield entry
        for dtype in dtypes:
            name = f"dtype-{bits}-{DTYPE_NAMES[dtype]}"
            feature = random_feature(random.Random(name), dtype, 11)
            full = bits <= 5 or dtype == ref.FLOAT32
            yield pack_entry(name, f"levels-{bits}", dtype, [11], feature, full)
    for name, centroids in FLOAT32_BOOKS.items():
        if not name.startswith("levels") and len(centroids) <= 8:
            feature = telling_values(centroids)
            yield pack_entry(
                f"special-{name}", name, ref.FLOAT32, [len(feature)], feature, full=True
            )


SHAPES = (
    (),
    (1,),
    (5,),
    (2, 3),
    (3, 2, 2),
    (1, 2, 3, 2),
    (2, 1, 2, 1, 3),
    (1, 1, 2, 1, 2, 1),
    (2, 1, 1, 3, 1, 1, 2),
    (1, 2, 1, 2, 1, 2, 1, 2),
    (0,),
    (0, 5),
    (3, 0, 2),
    (0, 0, 0, 0, 0, 0, 0, 0),
    (0, ref.MAX_ELEMENTS),
    (65535, 8191, 0),
    (1, 1, 1, 1, 1, 1, 1, 0),
)


def shape_entries() -> Iterator[dict[str, Any]]:
    for at, shape in enumerate(SHAPES):
        name = f"shape-{'x'.join(map(str, shape)) or 'scalar'}"
        dtype = (ref.FLOAT32, ref.INT8, ref.UINT8)[at % 3]
        feature = random_feature(random.Random(name), dtype, ref.elements_of(shape))
        yield pack_entry(name, f"levels-{1 + at % 4}", dtype, shape, feature, full=True)


def narrow_frame_entries() -> Iterator[dict[str, Any]]:
    for bits in range(1, 9):
        for at, length in enumerate((1, 9, 31, 65)):
            dtype = NARROW[(bits + at) % 2]
            name = f"narrow-{bits}-{length}"
            feature = random_feature(random.Random(name), dtype, length)
            entry = pack_entry(name, f"levels-{bits}", dtype, [length], feature, full=bits <= 2)
            yield without_long_indices(entry, length)
    for book, dtype in itertools.product(narrow_codebooks(), NARROW):
        feature = telling_halves(BOOKS[book], dtype)
        shape = [len(feature)]
        name = f"narrow-{book}-{DTYPE_NAMES[dtype]}"
        yield pack_entry(name, book, dtype, shape, feature, full=True)


# ------------------------------------------------------------------ channels


BOOKS_OF_WIDTH: dict[int, list[str]] = {
    1: ["levels-1", "symmetric", "two-sum-down", "huge-symmetric", "denormal-signs"],
    2: ["levels-2", "relu", "halves", "adjacent-negative", "clamp-edge"],
    3: ["levels-3", "half-tiny", "clamped", "half-ties", "bfloat-overflow"],
    **{bits: [f"levels-{bits}", f"others-{bits}"] for bits in range(4, 8)},
    8: ["levels-8", "uint8", "int8"],
}

# Shape, axis, codebooks: elements of one group follow one another in runs of every kind.
CHANNELS = (
    # first: runs of many, whole bytes of payload or not
    *(((3, 4, 5), 0, 3), ((2, 4, 6), 0, 2), ((4, 3, 5), 0, 2), ((3, 17), 0, 3), ((2, 16), 0, 2)),
    *(((2, 15), 0, 2), ((6, 1, 8), 0, 3), ((5, 8), 0, 5)),
    # last, each with its own: runs of one
    *(((3, 4, 5), 2, 5), ((2, 3, 8), 2, 8), ((3, 17), 1, 17), ((2, 33), 1, 33), ((16,), 0, 16)),
    # last, several to a group
    *(((2, 3, 6), 2, 3), ((2, 12), 1, 4), ((36,), 0, 4), ((48,), 0, 3), ((1, 64), 1, 2)),
    # in the middle
    *(((2, 3, 4), 1, 3), ((2, 4, 8), 1, 2), ((2, 2, 19), 1, 2)),
    *(((1, 2, 1, 2, 1, 2, 1, 2), 5, 2), ((2, 1, 1, 1, 2, 1, 1, 3), 0, 2)),
    # no elements
    *(((0, 4), 1, 2), ((4, 0), 0, 2), ((2, 0, 3), 2, 3)),
)

# Shape and axis of one codebook, which the bytes name all the same.
ONE_BOOK = (
    *(((3, 4, 5), 0), ((3, 4, 5), 1), ((3, 4, 5), 2), ((2, 9), 1), ((7,), 0), ((1, 2, 4, 4), 1)),
    ((2, 0, 3), 2),
)


def channel_codec(bits: int, dtype: int, shape: Sequence[int], axis: int, groups: int) -> ref.Codec:
    books = itertools.islice(itertools.cycle(BOOKS_OF_WIDTH[bits]), groups)
    return codec_of(list(books), dtype, shape, axis)


def channel_feature(rng: random.Random, codec: ref.Codec) -> list[int]:
    """Half of the floats are at or next to something of their own group's codebook."""
    feature = random_feature(rng, codec.dtype, codec.elements)
    if codec.dtype not in ref.LAYOUTS:
        return feature
    tables = [
        telling_values(own) if codec.dtype == ref.FLOAT32 else telling_halves(own, codec.dtype)
        for own in codec.codebooks
    ]
    return [
        rng.choice(tables[group]) if rng.randrange(2) else element
        for element, group in zip(feature, ref.groups_of(codec))
    ]


def channel_entries() -> Iterator[dict[str, Any]]:
    dtypes = (ref.FLOAT16, ref.INT8, ref.BFLOAT16, ref.UINT8, ref.FLOAT32)
    for at, ((shape, axis, groups), _) in enumerate(itertools.product(CHANNELS, range(3))):
        # every pair in 40 entries; float16 meets half-tiny in runs of one and of two
        bits, dtype = 1 + (at + 1) % 8, dtypes[at % 5]
        codec = channel_codec(bits, dtype, shape, axis, groups)
        name = f"channels-{'x'.join(map(str, shape))}-{axis}-{groups}-{bits}-{DTYPE_NAMES[dtype]}"
        feature = channel_feature(random.Random(name), codec)
        entry = frame_entry(name, codec, feature, full=groups << bits <= 16)
        yield without_long_indices(entry, codec.elements)
    for name, dtype, shape, axis, groups in (
        ("first", ref.FLOAT16, (2, 8, 10), 0, 2),
        ("last", ref.INT8, (40, 5), 1, 5),
        ("groups", ref.BFLOAT16, (2, 6, 10), 1, 3),
    ):
        codec = channel_codec(2, dtype, shape, axis, groups)
        few = random_feature(random.Random(f"lzma-channels-{name}"), dtype, 3)
        feature = [few[i // 7 % 3] for i in range(codec.elements)]
        entry = frame_entry(f"lzma-channels-{name}", codec, feature, full=False)
        payload = ref.encode_lzma(ref.pack(ref.quantize(codec, feature), 2))
        entry["payload"] = payload.hex()
        entry["compact"] = ref.build(codec, ref.LZMA, payload).hex()
        entry["self_describing"] = ref.build(codec, ref.LZMA, payload, self_describing=True).hex()
        # a reader checks the length against that of the packed indices
        assert ref.decode(bytes.fromhex(entry["compact"]), codec).coder == ref.LZMA
        yield entry
    for at, (shape, axis) in enumerate(ONE_BOOK):
        bits, dtype = 1 + at % 4, dtypes[at % 5]
        codec = channel_codec(bits, dtype, shape, axis, 1)
        name = f"channels-{'x'.join(map(str, shape))}-{axis}-1-{bits}-{DTYPE_NAMES[dtype]}"
        feature = channel_feature(random.Random(name), codec)
        entry = frame_entry(name, codec, feature, full=True)
        yield without_long_indices(entry, codec.elements)


# ------------------------------------------------------------------ slices


# Shape, axis, codebooks; first channel, and channels of the whole.
SLICES = (
    *(((2, 3, 4), 0, 1, (0, 6)), ((2, 3, 4), 0, 1, (2, 6)), ((2, 3, 4), 0, 1, (4, 6))),
    *(((2, 3, 4), 0, 2, (1, 3)), ((1, 9), 0, 1, (6, 7)), ((3, 4, 5), 2, 5, (5, 10))),
    *(((2, 3, 2), 1, 3, (0, 4)), ((1,), 0, 1, (65535, 65536)), ((2, 0), 0, 1, (1, 4))),
    *(((1, 1), 0, 1, (0, ref.MAX_ELEMENTS)), ((1, 2, 1, 2, 1, 2, 1, 2), 7, 2, (3, 9))),
)


def slice_entries() -> Iterator[dict[str, Any]]:
    dtypes = (ref.FLOAT32, ref.INT8, ref.BFLOAT16, ref.UINT8, ref.FLOAT16)
    for at, (shape, axis, groups, slice_of) in enumerate(SLICES):
        bits, dtype = 1 + at % 3, dtypes[at % 5]
        codec = channel_codec(bits, dtype, shape, axis, groups)._replace(slice_of=slice_of)
        place = f"{slice_of[0]}-of-{slice_of[1]}"
        name = f"slices-{'x'.join(map(str, shape))}-{axis}-{place}"
        feature = channel_feature(random.Random(name), codec)
        yield frame_entry(name, codec, feature, full=True)


# ------------------------------------------------------------------ lzma


def lzma_inputs() -> Iterator[tuple[str, str, int, list[int], list[int]]]:
    """Name, codebook, dtype, shape, feature of features that LZMA makes smaller."""
    low = [-100, -20, 10, 40]

    def sparse(rng: random.Random, count: int, rarity: int) -> list[int]:
        return [rng.choice(low[1:]) if rng.randrange(rarity) == 0 else low[0] for _ in range(count)]

    for bits in range(1, 9):
        rng = random.Random(f"sparse-{bits}")
        yield f"sparse-{bits}", f"levels-{bits}", ref.INT8, [8, 64], sparse(rng, 512, 12)
    yield "constant", "levels-2", ref.UINT8, [1024], [7] * 1024
    yield "shortest", "levels-8", ref.UINT8, [12], [9] * 12
    ramp = [i % 251 for i in range(700)]
    yield "ramp", "uint8", ref.UINT8, [700], ramp
    rng = random.Random("phrases")
    phrases = [[rng.randrange(256) for _ in range(rng.randrange(3, 40))] for _ in range(6)]
    text: list[int] = []
    while len(text) < 900:
        text += rng.choice(phrases)
    yield "phrases", "uint8", ref.UINT8, [9, 100], text[:900]
    far = [rng.randrange(256) for _ in range(300)]
    middle = [rng.choice([3, 250]) for _ in range(4200)]
    yield "far", "uint8", ref.UINT8, [4800], far + middle + far
    plane = [low[(x // 5 + y // 3) % 4] for y in range(24) for x in range(24)]
    yield "plane", "levels-4", ref.INT8, [24, 24, 1], plane
    rng = random.Random("floats")
    floats = [float_bits(rng.choice([-100.0, 0.25, 77.5])) for _ in range(40)] * 3
    yield "floats", "levels-6", ref.FLOAT32, [3, 40], floats
    rng = random.Random("flips")
    flips = [rng.choice([0, 0, 0, 0, 1, 16, 17]) for _ in range(400)]
    yield "flips", "uint8", ref.UINT8, [400], flips


def lzma_entries(stored: dict[tuple[str, str], str]) -> Iterator[dict[str, Any]]:
    for name, book, dtype, shape, feature in lzma_inputs():
        codec = codec_of(book, dtype, shape)
        indices = ref.quantize(codec, feature)
        packed = ref.pack(indices, codec.bits)
        for encoder in ("liblzma", "reference"):
            if encoder == "reference":
                payload = ref.encode_lzma(packed)
            elif (name, encoder) in stored:
                payload = bytes.fromhex(stored[name, encoder])
            else:
                raise SystemExit(f"lzma.json has lost the payload of lzma-{name}-{encoder}")
            assert ref.decode_lzma(payload, len(packed)) == packed, (name, encoder)
            entry: dict[str, Any] = {"name": f"lzma-{name}-{encoder}"}
            if encoder == "liblzma":
                entry["codebook"] = book
                entry["dtype"] = DTYPE_NAMES[dtype]
                entry["shape"] = shape
                entry["feature"] = feature_hex(dtype, feature)
                entry["indices"] = hex8(indices)
            else:
                entry["like"] = f"lzma-{name}-liblzma"
            entry["payload"] = payload.hex()
            entry["compact"] = ref.build(codec, ref.LZMA, payload).hex()
            if codec.bits <= 4:
                full = ref.build(codec, ref.LZMA, payload, self_describing=True)
                entry["self_describing"] = full.hex()
            yield entry
    yield operations_entry()


def operations_entry() -> dict[str, Any]:
    """Every operation of LZMA, in orders that no encoder would choose."""
    writer = ref.LzmaWriter()
    for step, *arguments in (
        ("literal", 200),
        ("repeat", 3, 2),  # all four distances begin as 1
        ("repeat", 0, 1),
        *(("literal", byte) for byte in (1, 2, 3, 254, 255, 0, 128, 127)),
        ("match", 2, 2),
        ("match", 5, 9),
        ("match", 9, 10),
        ("match", 7, 17),
        *(("repeat", which, length) for which, length in ((3, 18), (2, 3), (1, 2), (0, 1), (0, 2))),
        ("match", 66, 273),
        *(("literal", byte) for byte in (77, 78, 77)),
        ("match", 130, 4),
        ("match", 353, 5),  # with direct bits
        ("repeat", 1, 273),
        ("literal", 42),
        ("match", 600, 40),
        ("repeat", 3, 6),
        ("literal", 43),
    ):
        getattr(writer, step)(*arguments)
    packed, payload = bytes(writer.out), writer.finish()
    assert ref.decode_lzma(payload, len(packed)) == packed
    codec = codec_of("uint8", ref.UINT8, [len(packed)])
    return {
        "name": "lzma-operations-reference",
        "codebook": "uint8",
        "dtype": "uint8",
        "shape": [len(packed)],
        "feature": packed.hex(),
        "indices": packed.hex(),
        "payload": payload.hex(),
        "compact": ref.build(codec, ref.LZMA, payload).hex(),
    }


# ------------------------------------------------------------------ context


def taps_within(number: int) -> list[context.Tap]:
    """Every tap that channel `number` may have."""
    reach = range(-context.REACH, context.REACH + 1)
    return [
        context.Tap(back, row, column, is_set)
        for back in range(number + 1)
        for row, column in itertools.product(reach, reach)
        for is_set in (False, True)
        if back > 0 or row < 0
    ]


def random_network(
    rng: random.Random, bits: int, number: int, taps: int, units: int, linear: int, shift: int
) -> context.Network:
    """Any network, but one whose logits differ and are not all at the limit."""
    nodes, lefts = context.node_count(bits), 1 << 2 * context.near_bits(bits)
    possible = taps_within(number)
    chosen = rng.sample(possible, min(taps, len(possible)))
    most = [1 if tap.is_set else nodes for tap in chosen]
    weights = [[rng.randrange(-128, 128) for _ in range(units)] for _ in chosen]
    biases = [rng.randrange(-300, 300) for _ in range(units)]
    sizes = []
    for unit in range(units):
        while True:
            size = abs(biases[unit])
            size += sum(abs(row[unit]) * level for row, level in zip(weights, most))
            if size <= context.SUM_MOST:
                break
            for row in weights:
                row[unit] //= 2
        sizes.append(size + 1)
    outputs = []
    for _ in range(nodes):
        limits = [min(2500 * 2**shift // size, 65535) // units for size in sizes]
        limits = [min(max(limit, 1), 32767) for limit in limits]
        outputs.append([rng.randint(-limit, limit) for limit in limits])
    table = [[rng.randint(-25, 25) for _ in range(lefts)] for _ in range(nodes)]
    if bits > 2:
        table[1][1], table[-1][-1] = 127, -128
    return context.Network(linear, shift, chosen, weights, biases, outputs, table)


def constant_network(bits: int, bias: int, outputs: Sequence[int], shift: int) -> context.Network:
    """The same logits for every symbol: units of one bias, `outputs` for each node."""
    nodes, units = context.node_count(bits), len(outputs)
    lefts = [[0] * (1 << 2 * context.near_bits(bits)) for _ in range(nodes)]
    return context.Network(0, shift, [], [], [bias] * units, [list(outputs)] * nodes, lefts)


def model_of(bits: int, networks: Sequence[context.Network]) -> ref.Model:
    return ref.Model(ref.CONTEXT, bits, len(networks), context.build(networks))


# Bits, shape, axis and codebooks; taps, units, linear and shift of each channel, in turn.
CONTEXT_CODECS = (
    (1, (3, 4, 33), None, 1, ((6, 2, 1, 8), (9, 16, 4, 12), (20, 3, 0, 7))),
    (1, (8, 70), None, 1, ((20, 4, 2, 10),)),
    (1, (70,), None, 1, ((0, 2, 1, 9),)),
    (1, (104,), 0, 4, ((0, 1, 1, 8), (0, 1, 0, 7), (1, 1, 1, 6))),
    (2, (6, 9, 3), 2, 3, ((5, 3, 1, 9), (8, 4, 4, 11), (13, 5, 0, 16))),
    (
        2,
        (5, 4, 9),
        None,
        1,
        ((3, 2, 2, 8), (7, 2, 0, 9), (11, 3, 1, 10), (1, 1, 0, 5), (12, 1, 1, 7)),
    ),
    (2, (30, 4), 1, 2, ((1, 1, 1, 6), (2, 1, 0, 7))),
    (3, (2, 40, 1), 0, 2, ((10, 3, 1, 10), (15, 2, 0, 9))),
    (3, (3, 1, 50), None, 1, ((4, 2, 1, 9), (25, 4, 2, 10), (30, 2, 2, 12))),
    (4, (2, 5, 33), None, 1, ((17, 16, 3, 13), (33, 8, 8, 11))),
    (4, (1, 3, 70), None, 1, ((0, 1, 1, 3),)),
    (4, (2, 2, 3, 9), 1, 2, ((5, 1, 0, 1), (6, 1, 1, 15))),
    (5, (2, 4, 12), 1, 1, ((7, 5, 0, 11), (4, 2, 2, 9), (30, 1, 0, 7), (9, 2, 1, 10))),
    (6, (2, 3, 33), None, 1, ((8, 2, 1, 12), (21, 3, 0, 9))),
    (7, (45,), None, 1, ((0, 3, 1, 8),)),
    (8, (2, 6, 10), None, 1, ((12, 2, 1, 10), (40, 9, 3, 11))),
    (8, (4, 5, 2), 2, 1, ((3, 1, 1, 7), (5, 1, 0, 6))),
)


def feature_of(codec: ref.Codec, indices: Sequence[int]) -> list[int]:
    """What the indices stand for, which has to have the same indices."""
    feature = ref.dequantize(codec, indices)
    assert ref.quantize(codec, feature) == list(indices)
    return feature


def context_codec(
    bits: int, shape: Sequence[int], axis: int | None, groups: int, model: ref.Model
) -> ref.Codec:
    if axis is None:
        return codec_of(f"levels-{bits}", ref.FLOAT32, shape, None, model.whole)
    codec = channel_codec(bits, ref.FLOAT32, shape, axis, groups)
    return codec._replace(model=model.whole)


def in_elements(codec: ref.Codec, symbols: Iterable[int]) -> list[int]:
    """Symbols in the order of planes, as indices in that of the elements."""
    indices = [0] * codec.elements
    seen = ref.planes(codec.shape, codec.axis)
    for element, symbol in zip(itertools.chain(*itertools.chain(*seen)), symbols):
        indices[element] = symbol
    return indices


def likely_indices(rng: random.Random, codec: ref.Codec) -> list[int]:
    """Indices as the model foresees them, by dice."""
    sizes = context.sizes_of(ref.planes(codec.shape, codec.axis))
    networks = context.parse(ref.parse_model(codec.model).body, codec.bits, sizes[0])
    symbols = context.walk(
        codec.bits, sizes, networks, lambda zero: int(rng.randrange(32768) >= zero)
    )
    return in_elements(codec, symbols)


def context_entry(name: str, codec: ref.Codec, indices: Sequence[int]) -> dict[str, Any]:
    feature = feature_of(codec, indices)
    compact = ref.encode_context(codec, feature)
    assert ref.decode(compact, codec).feature == feature, name
    entry = {"name": f"context-{name}", **codec_words(codec), "indices": hex8(indices)}
    entry["coder"] = {number: name for name, number in ref.CODERS.items()}[compact[1]]
    entry["compact"] = compact.hex()
    if len(codec.model) < 150:
        entry["self_describing"] = ref.encode_context(codec, feature, self_describing=True).hex()
    return entry


def context_entries() -> Iterator[dict[str, Any]]:
    for bits, shape, axis, groups, fields in CONTEXT_CODECS:
        name = f"{bits}-{'x'.join(map(str, shape))}" + ("" if axis is None else f"-{axis}")
        rng = random.Random(f"context-{name}")
        channels = ref.channels_of(shape, axis)
        each = itertools.islice(itertools.cycle(fields), channels)
        networks = [random_network(rng, bits, number, *own) for number, own in enumerate(each)]
        codec = context_codec(bits, shape, axis, groups, model_of(bits, networks))
        entry = context_entry(name, codec, likely_indices(rng, codec))
        assert entry["coder"] == "context", name
        yield entry

    def made(
        name: str, bits: int, shape: Sequence[int], network: context.Network, indices: Sequence[int]
    ) -> dict[str, Any]:
        codec = context_codec(bits, shape, None, 1, model_of(bits, [network]))
        return context_entry(name, codec, indices)

    # the largest sums that a model may have, and the most improbable decisions
    edge = constant_network(2, 32767, [-32767, -32767, -1], 16)
    for name, index, shape in (("likely", 0, (2, 33)), ("unlikely", 3, (16, 70))):
        yield made(f"edge-{name}", 2, shape, edge, [index] * (shape[0] * shape[1]))
    never = constant_network(1, 32767, [-32768, -32767], 1)
    for at in range(4):
        last = [0] * (9 * 33 - 1 - at) + [1] * (1 + at)
        yield made(f"end-{at}", 1, (9, 33), never, last)
    yield made("zeros", 1, (70,), never, [0] * 70)
    often = constant_network(8, 32767, [32767, -32768], 1)
    rng = random.Random("context-surprise")
    surprise = [rng.choice((0, 128, 255)) for _ in range(66)] + [255] * 300
    yield made("surprise", 8, (6, 61), often, surprise)
    # no room for a payload
    for bits, shape in ((8, (1, 1, 1)), (3, (1, 5)), (1, ())):
        name = f"stored-{bits}-{'x'.join(map(str, shape)) or 'scalar'}"
        rng = random.Random(f"context-{name}")
        network = random_network(rng, bits, 0, 2, 1, 1, 6)
        count = ref.elements_of(shape)
        entry = made(name, bits, shape, network, [rng.randrange(1 << bits) for _ in range(count)])
        assert entry["coder"] == "pack"
        yield entry


# ------------------------------------------------------------------ impossible frames


def bad_entries() -> Iterator[dict[str, Any]]:
    codec = codec_of("relu", ref.FLOAT32, [2, 3])
    description = codec.description
    indices = [0, 1, 2, 3, 2, 1]
    payload = ref.pack(indices, 2)

    def bad(name: str, why: str, frame: bytes, codec: ref.Codec = codec, **more: Any) -> Any:
        expected: list[str | None] = []
        for own in (None, codec):
            try:
                ref.decode(frame, own, more.get("max_elements", 1 << 26))
                expected.append(None)
            except (ref.FrameError, ref.CoderUnavailableError) as error:
                expected.append(type(error).__name__)
        # whoever brings a codec has agreed to its number of elements
        assert expected[0] and (expected[1] or "max_elements" in more), f"{name} is accepted"
        return {
            "name": f"bad-{name}",
            "why": why,
            **codec_words(codec),
            "frame": frame.hex(),
            "error": expected[0],
            "error_with_codec": expected[1],
            **more,
        }

    def described(changed: bytes, payload: bytes = payload, coder: int = ref.PACK) -> bytes:
        return ref.build_self_describing(changed, coder, payload)

    def patched(at: int, byte: int) -> bytes:
        return description[:at] + bytes([byte]) + description[at + 1 :]

    def with_shape(*shape: int, centroids: Sequence[int] = codec.codebooks[0]) -> bytes:
        bits = len(centroids).bit_length() - 1
        return (
            struct.pack("<4B", bits, ref.FLOAT32, len(shape), 0)
            + struct.pack(f"<{len(shape)}I", *shape)
            + struct.pack(f"<{len(centroids)}I", *centroids)
        )

    good = ref.build(codec, ref.PACK, payload)
    full = ref.build(codec, ref.PACK, payload, self_describing=True)

    # not a frame, another version, another length
    yield bad("empty", "no bytes at all", b"")
    yield bad("text", "does not start like a frame", b"hello, world, this is no frame")
    yield bad("zeros", "does not start like a frame", bytes(40))
    yield bad("magic-1", "ends in the magic", b"S")
    yield bad("magic-2", "ends in the magic", b"SP")
    yield bad("magic-3", "ends before the version", b"SPC")
    yield bad("magic-4", "ends before the length", b"SPC\x01")
    yield bad("magic-case", "the magic is upper case", ref.with_checksum(b"spc" + full[3:-4]))
    for version in (0, 2, 15):
        frame = ref.with_checksum(bytes([0xC0 | version]) + good[1:-4])
        yield bad(f"version-{version}-compact", "an unknown version", frame)
    for version in (0, 2, 0x31, 255):
        frame = ref.with_checksum(full[:3] + bytes([version]) + full[4:-4])
        yield bad(f"version-{version}-self", "an unknown version", frame)
    yield bad("short-compact", "one byte shorter than any frame", ref.with_checksum(good[:5]))
    yield bad("short-self", "shorter than any frame", ref.with_checksum(full[:11]))
    for step in (-1, 1, 2**32 - len(full), 2**31):
        length = struct.pack("<I", (len(full) + step) % 2**32)
        frame = ref.with_checksum(full[:4] + length + full[8:-4])
        yield bad(f"length-{step:+x}", "not as long as it says", frame)
    yield bad("trailing", "a byte follows the frame", full + b"\0")
    yield bad("trailing-compact", "a byte follows the frame", good + b"\0")
    yield bad("checksum-zero", "the checksum is wrong", full[:-4] + bytes(4))
    yield bad("checksum-big-endian", "the checksum is big-endian", full[:-4] + full[:-5:-1])
    yield bad("checksum-crc32", "CRC-32 in place of CRC-32C", full[:-4] + _crc32(full[:-4]))

    # the description
    for bits in (0, 9, 255):
        yield bad(f"bits-{bits}", "bits are 1 to 8", described(patched(0, bits)))
    wide = b"\x09" + codec_of("relu", ref.FLOAT32, [3]).description[1:8]
    wide += struct.pack("<512I", *(float_bits(value) for value in range(512)))
    yield bad("bits-9-whole", "bits are 1 to 8, with all else in place", described(wide, bytes(4)))
    for dtype in (5, 9, 255):
        yield bad(f"dtype-{dtype}", "no such dtype", described(patched(1, dtype)))
    yield bad("rank-9", "rank is at most 8", described(with_shape(1, 1, 1, 1, 1, 1, 1, 2, 3)))
    yield bad("rank-255", "rank is at most 8", described(patched(2, 255)))
    for byte in (3, 128, 255):
        why = "too short for a model" if byte == 128 else "the shape has no such axis"
        yield bad(f"axis-{byte}", why, described(patched(3, byte)))
    yield bad("axis-only", "0.0, a centroid, would count the codebooks", described(patched(3, 1)))
    yield bad("rank-beyond", "the dims reach beyond the frame", described(patched(2, 8), b""))
    yield bad("centroids-beyond", "the centroids reach beyond", described(patched(0, 8)))
    yield bad(
        "no-coder",
        "the frame ends behind the description",
        ref.with_checksum(full[:4] + struct.pack("<I", 12 + len(description)) + description),
    )
    overflowing: tuple[tuple[int, ...], ...] = (
        (2**29,),
        (2**32 - 1,),
        (2**16, 2**16),
        (2**31, 2),
        (2**32 - 1, 2**32 - 1, 2**32 - 1),
        (2**8,) * 8,
        (2**32 - 1,) * 8,
        (0, 2**29),
        (2**29, 0),
        (2**16, 2**16, 0),
    )
    for shape in overflowing:
        name = "shape-" + "x".join(f"{dim:x}" for dim in shape)
        yield bad(name, "more than 2**29 - 1 elements", described(with_shape(*shape), b""))
    yield bad(
        "limit", "more elements than the caller allows", described(with_shape(2**29 - 1), b"")
    )
    yield bad("limit-5", "more elements than the caller allows", full, max_elements=5)
    for name, why, centroids in (
        ("unsorted", "centroids do not ascend", (0x3F000000, 0, 0x3F800000, 0x40000000)),
        ("descending", "centroids do not ascend", (0x40000000, 0x3F800000, 0x3F000000, 0)),
        ("repeated", "a centroid is repeated", (0, 0x3F000000, 0x3F000000, 0x3F800000)),
        ("nan", "a centroid is NaN", (0, 0x3F000000, 0x3F800000, 0x7FC00000)),
        ("nan-negative", "a centroid is NaN", (0xFFC00000, 0, 0x3F000000, 0x3F800000)),
        ("infinite", "a centroid is infinite", (0, 0x3F000000, 0x3F800000, 0x7F800000)),
        ("negative-infinite", "a centroid is infinite", (0xFF800000, 0, 1, 2)),
        ("negative-zero", "a centroid is -0.0", (0x80000000, 0x3F000000, 0x3F800000, 0x40000000)),
        ("two-zeros", "a centroid is -0.0", (0x80000000, 0, 0x3F800000, 0x40000000)),
    ):
        frame = described(with_shape(2, 3, centroids=centroids))
        yield bad(f"centroids-{name}", why, frame)

    # another codec's frame
    other = codec_of("relu", ref.FLOAT32, [3, 2])
    yield bad("mismatch-shape", "another shape", ref.build(other, ref.PACK, payload))
    other = codec_of("halves", ref.FLOAT32, [2, 3])
    yield bad("mismatch-codebook", "another codebook", ref.build(other, ref.PACK, payload))
    other = codec_of("relu", ref.INT8, [2, 3])
    yield bad("mismatch-dtype", "another dtype", ref.build(other, ref.PACK, payload))
    yield from _bad_groups(bad)
    yield from _bad_slices(bad)
    yield from _bad_models(bad)
    yield from _bad_context(bad)

    # the payload
    both: list[tuple[str, str, ref.Codec, int, bytes]] = []
    for coder in (127, 255):
        both.append((f"coder-{coder}", "no such coder", codec, coder, payload))
    both += [
        ("payload-short", "payload has the wrong length", codec, ref.PACK, payload[:-1]),
        ("payload-none", "payload has the wrong length", codec, ref.PACK, b""),
        ("payload-long", "payload has the wrong length", codec, ref.PACK, payload + b"\0"),
    ]
    for bit in (4, 7):
        padded = payload[:-1] + bytes([payload[-1] | 1 << bit])
        both.append((f"padding-{bit}", "an unused bit is set", codec, ref.PACK, padded))
    empty = codec_of("relu", ref.FLOAT32, [3, 0])
    both += [
        ("empty-payload", "no elements, yet a payload", empty, ref.PACK, b"\0"),
        ("empty-lzma", "no elements are always stored", empty, ref.LZMA, b""),
        (
            "empty-lzma-payload",
            "no elements are always stored",
            empty,
            ref.LZMA,
            b"\xff" + bytes(4),
        ),
    ]
    both += list(_bad_lzma())
    for name, why, own, coder, data in both:
        frame = ref.build(own, coder, data)
        yield bad(f"{name}-compact", why, frame, own)
        frame = ref.build(own, coder, data, self_describing=True)
        yield bad(f"{name}-self", why, frame, own)


def _bad_groups(bad: Any) -> Iterator[dict[str, Any]]:
    """Refusals that only codebooks with an axis meet."""
    codec = codec_of(["relu", "halves"], ref.FLOAT16, [4, 2], 0)
    indices = [0, 1, 2, 3, 3, 2, 1, 0]
    payload = ref.pack(indices, 2)
    books = codec.codebooks

    def entry(name: str, why: str, frame: bytes, own: ref.Codec = codec, **more: Any) -> Any:
        return bad(f"groups-{name}", why, frame, own, **more)

    def described(
        shape: Sequence[int] = codec.shape,
        axis_byte: int = 1,
        groups: int = 2,
        codebooks: Sequence[Sequence[int]] = books,
    ) -> bytes:
        numbers = [*shape, groups, *itertools.chain(*codebooks)]
        head = struct.pack("<4B", 2, ref.FLOAT16, len(shape), axis_byte)
        return head + struct.pack(f"<{len(numbers)}I", *numbers)

    def framed(description: bytes, payload: bytes = payload) -> bytes:
        return ref.build_self_describing(description, ref.PACK, payload)

    assert described() == codec.description
    for groups in (0, 3, 65536, 65537, 2**32 - 1):
        why = "there are fewer codebooks" if 2 < groups <= 65536 else "1 to 65,536 codebooks"
        yield entry(f"{groups}", why, framed(described(groups=groups)))
    last = described((1, 1, 1, 1, 1, 1, 4, 2), 9)
    yield entry("axis-beyond", "the shape has no such axis", framed(last))
    scalar = framed(described(shape=()), b"\0")
    yield entry("scalar", "a scalar has no axis", scalar)
    for shape, axis_byte in (((3, 2), 1), ((1, 2), 1), ((4, 3), 2)):
        name = f"{shape[0]}x{shape[1]}-axis-{axis_byte - 1}"
        frame = framed(described(shape, axis_byte), bytes(ref.packed_size(shape[0] * shape[1], 2)))
        yield entry(name, "the channels do not form equal groups", frame)
    for shape, axis_byte in (((0, 2), 1), ((4, 0), 2)):
        name = f"{shape[0]}x{shape[1]}-axis-{axis_byte - 1}"
        frame = framed(described(shape, axis_byte), b"")
        yield entry(name, "no channels", frame)
    too_many = described((2**29, 2))
    yield entry("elements", "more than 2**29 - 1 elements", framed(too_many))
    short = ref.with_checksum(b"SPC\1" + struct.pack("<I4B", 16, 2, ref.FLOAT16, 8, 1))
    yield entry("no-dims", "ends before the dimensions", short)
    whole = codec.description
    for name, why, length in (
        ("no-number", "ends before the number of codebooks", 12),
        ("part-number", "ends in the number of codebooks", 14),
        ("no-centroids", "ends behind the number of codebooks", 16),
        ("half", "ends behind the first codebook", 32),
        ("no-coder", "ends behind the description", len(whole)),
    ):
        head = b"SPC\1" + struct.pack("<I", 8 + length + 4)
        yield entry(name, why, ref.with_checksum(head + whole[:length]))
    for name, why, second in (
        ("unsorted", "centroids of the second codebook do not ascend", (0, 2, 1, 3)),
        ("repeated", "a centroid of the second codebook is repeated", (0, 1, 1, 3)),
        ("nan", "a centroid of the second codebook is NaN", (0, 1, 2, 0x7FC00000)),
        ("infinite", "a centroid of the second codebook is infinite", (0xFF800000, 0, 1, 2)),
        ("negative-zero", "a centroid of the second codebook is -0.0", (0x80000000, 1, 2, 3)),
    ):
        yield entry(name, why, framed(described(codebooks=(books[0], second))))
    yield entry(
        "limit",
        "more elements than the caller allows, and centroids that do not ascend",
        framed(described(codebooks=(books[0], books[0][::-1]))),
        max_elements=7,
    )
    # another codec's frame
    for name, why, other in (
        ("axis", "another axis", codec_of(["relu", "halves"], ref.FLOAT16, [4, 2], 1)),
        ("order", "other codebooks", codec_of(["halves", "relu"], ref.FLOAT16, [4, 2], 0)),
        ("more", "more codebooks", codec_of(["relu", "halves"] * 2, ref.FLOAT16, [4, 2], 0)),
        ("one", "one codebook", codec_of("relu", ref.FLOAT16, [4, 2])),
        ("dtype", "another dtype", codec_of(["relu", "halves"], ref.BFLOAT16, [4, 2], 0)),
    ):
        yield entry(f"mismatch-{name}", why, ref.build(other, ref.PACK, payload))
    alone = codec_of("relu", ref.FLOAT16, [4, 2])
    for axis in (0, 1):
        frame = ref.build(codec_of("relu", ref.FLOAT16, [4, 2], axis), ref.PACK, payload)
        yield entry(f"mismatch-one-axis-{axis}", "one codebook with an axis", frame, alone)
    # the payload
    odd = codec_of(["relu", "halves"], ref.BFLOAT16, [3, 2], 1)
    padded = ref.pack([0, 1, 2, 3, 3, 2], 2)[:1] + b"\x1b"
    for self_describing in (False, True):
        kind = "self" if self_describing else "compact"
        for name, why, own, data in (
            ("payload-short", "payload has the wrong length", codec, payload[:-1]),
            ("padding", "an unused bit is set", odd, padded),
        ):
            frame = ref.build(own, ref.PACK, data, self_describing)
            yield entry(f"{name}-{kind}", why, frame, own)


def _bad_slices(bad: Any) -> Iterator[dict[str, Any]]:
    """Refusals that only slices meet."""
    codec = codec_of("relu", ref.FLOAT32, [2, 3], 0, slice_of=(2, 6))
    payload = ref.pack([0, 1, 2, 3, 2, 1], 2)
    whole = codec.description

    def entry(name: str, why: str, frame: bytes, own: ref.Codec = codec) -> Any:
        return bad(f"slice-{name}", why, frame, own)

    def framed(first: int, channels: int, shape: Sequence[int] = (2, 3)) -> bytes:
        numbers = [*shape, 1, first, channels, *codec.codebooks[0]]
        description = whole[:4] + struct.pack(f"<{len(numbers)}I", *numbers)
        return ref.build_self_describing(description, ref.PACK, payload)

    assert framed(2, 6) == ref.build(codec, ref.PACK, payload, self_describing=True)
    no_axis = codec_of("relu", ref.FLOAT32, [2, 3]).description
    for byte in (ref.IS_SLICE, ref.IS_SLICE | ref.HAS_MODEL):
        changed = no_axis[:3] + bytes([byte]) + no_axis[4:]
        frame = ref.build_self_describing(changed, ref.PACK, payload)
        yield entry(f"no-axis-{byte:x}", "a slice needs an axis", frame)
    beyond = whole[:3] + bytes([ref.IS_SLICE | 3]) + whole[4:]
    frame = ref.build_self_describing(beyond, ref.PACK, payload)
    yield entry("axis-beyond", "the shape has no such axis", frame)
    for length in (16, 20, 23, 24):
        head = b"SPC\1" + struct.pack("<I", 8 + length + 4)
        frame = ref.with_checksum(head + whole[:length])
        why = "ends behind" if length == 24 else "ends before the end of"
        yield entry(f"cut-{length}", f"{why} the place of the slice", frame)
    for first, channels in (
        *((0, 0), (0, 1), (0, 2), (1, 2), (5, 6), (6, 6), (7, 6)),
        *((2**32 - 2, 6), (2**32 - 1, 2**32 - 1), (4, 2**32 - 1), (0, 2**29)),
    ):
        why = "the whole has too many elements" if channels >= 2**29 else "no part of the whole"
        yield entry(f"{first:x}-of-{channels:x}", why, framed(first, channels))
    yield entry("whole-elements", "the whole has too many elements", framed(0, 2**28))
    # another codec's frame
    for name, why, other in (
        ("first", "another slice", codec._replace(slice_of=(0, 6))),
        ("whole", "a slice of more channels", codec._replace(slice_of=(2, 7))),
        ("none", "no slice", codec._replace(slice_of=None)),
    ):
        yield entry(f"mismatch-{name}", why, ref.build(other, ref.PACK, payload))


def _bad_models(bad: Any) -> Iterator[dict[str, Any]]:
    """Refusals that only a coder's model meets.  Its body is empty, whatever the coder is."""
    codec = codec_of("relu", ref.FLOAT32, [2, 3])
    payload = ref.pack([0, 1, 2, 3, 2, 1], 2)
    description = codec.description
    flagged = description[:3] + bytes([ref.HAS_MODEL]) + description[4:]
    model = ref.Model(ref.RANGE, 2, 1, b"")

    def entry(name: str, why: str, frame: bytes, own: ref.Codec = codec, **more: Any) -> Any:
        return bad(f"model-{name}", why, frame, own, **more)

    def cut(description: bytes) -> bytes:
        """A frame that ends in or behind a description."""
        head = b"SPC\1" + struct.pack("<I", 8 + len(description) + 4)
        return ref.with_checksum(head + description)

    def framed(model: bytes, length: int | None = None) -> bytes:
        length = len(model) if length is None else length
        whole = flagged + struct.pack("<I", length) + model
        return ref.build_self_describing(whole, ref.PACK, payload)

    def with_model(model: ref.Model, own: ref.Codec = codec) -> bytes:
        data = bytes(ref.packed_size(own.elements, own.bits))
        own = own._replace(model=model.whole)
        return ref.build(own, ref.PACK, data, self_describing=True)

    whole = model.whole
    assert framed(whole)[:-12] == with_model(model)[:-12]
    yield entry("none", "ends before the length of the model", cut(flagged))
    yield entry("part-length", "ends in the length of the model", cut(flagged + b"\x0c\0\0"))
    yield entry("only-length", "ends before the model", cut(flagged + b"\x0c\0\0\0"))
    yield entry("empty", "a model has bytes", framed(b""))
    end = len(whole) + 1 + len(payload)
    yield entry("no-coder", "the model reaches to the checksum", framed(whole, end))
    for length in (end + 1, end + 4, 2**31, 2**32 - 1):
        name = f"beyond-{length - end:x}"
        yield entry(name, "the model reaches beyond the frame", framed(whole, length))
    short = ref.with_checksum(b"SPM\1" + bytes([ref.RANGE, 2, 1]))
    yield entry("short", "shorter than header and checksum", framed(short))
    for at in (4, 6, 8, 11):
        damaged = whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :]
        yield entry(f"damaged-{at}", "damaged, by its own checksum", framed(damaged))
    for name, magic in (("frame", b"SPC\1"), ("case", b"spm\1"), ("0", b"SPM\0"), ("2", b"SPM\2")):
        changed = ref.with_checksum(magic + whole[4:-4])
        yield entry(f"magic-{name}", "another magic or version", framed(changed))
    for coder in (ref.PACK, ref.LZMA, 127, 255):
        why = "the coder takes no model" if coder in (ref.PACK, ref.LZMA) else "no such coder"
        yield entry(f"coder-{coder}", why, framed(model._replace(coder=coder).whole))
    for bits in (0, 9, 255):
        yield entry(f"bits-{bits}", "bits are 1 to 8", framed(model._replace(bits=bits).whole))
    none = model._replace(channels=0)
    yield entry("channels-0", "a model has channels", framed(none.whole))
    yield entry("bits", "made for other bits", with_model(model._replace(bits=3)))
    by_axis = codec_of("relu", ref.FLOAT32, [4, 2], 0)
    for name, own, channels in (
        ("two", codec, 2),
        ("one", by_axis, 1),
        ("other-axis", by_axis, 2),
        ("without-axis", codec_of("relu", ref.FLOAT32, [4, 3, 2]), 1),
        ("last", codec_of("relu", ref.FLOAT32, [4, 3, 2], 2), 4),
    ):
        frame = with_model(model._replace(channels=channels), own)
        yield entry(f"channels-{name}", "made for other channels", frame, own)
    nothing = codec_of("relu", ref.FLOAT32, [3, 0])
    yield entry("elements", "a model for no elements", with_model(model, nothing), nothing)
    yield entry(
        "limit",
        "more elements than the caller allows, and a damaged model",
        framed(whole[:-1] + bytes([whole[-1] ^ 1])),
        max_elements=5,
    )
    other = codec._replace(model=whole)
    yield entry("mismatch", "made with a model", ref.build(other, ref.PACK, payload))


def _bad_context(bad: Any) -> Iterator[dict[str, Any]]:
    """Models of coder 4 that are none, and payloads that no encoder writes."""
    plain = codec_of("symmetric", ref.INT8, [2, 3], 0)  # 1 bit, 2 channels
    rng = random.Random("bad context")
    good = [random_network(rng, 1, number, 2, 2, 1, 9) for number in range(2)]
    body = context.build(good)
    context.check_body(body, 1, 2)

    def entry(name: str, why: str, body: bytes, own: ref.Codec = plain) -> dict[str, Any]:
        channels = ref.channels_of(own.shape, own.axis)
        model = ref.Model(ref.CONTEXT, own.bits, channels, body)
        payload = bytes(ref.packed_size(own.elements, own.bits))
        whole = own._replace(model=model.whole)
        frame = ref.build(whole, ref.PACK, payload, self_describing=True)
        return bad(f"context-{name}", why, frame, own)

    def patched(name: str, why: str, at: int, byte: int) -> dict[str, Any]:
        return entry(name, why, body[:at] + bytes([byte]) + body[at + 1 :])

    def changed(name: str, why: str, number: int, **fields: Any) -> dict[str, Any]:
        networks = [*good[:number], good[number]._replace(**fields), *good[number + 1 :]]
        return entry(name, why, context.build(networks))

    first = len(context.build(good[:1]))
    for length in (0, 3, 4, 6, first - 1, first, first + 3, len(body) - 1):
        yield entry(f"cut-{length}", "the model ends early", body[:length])
    yield entry("longer", "a byte follows the last channel", body + b"\0")
    for units, why in ((0, "a channel has a unit"), (17, "a channel has 16 units at most")):
        nothing = constant_network(1, 0, [0] * units, 1)
        yield entry(f"units-{units}", why, context.build([nothing] * 2))
    yield patched("linear", "more linear units than units", 2, 3)
    for shift in (0, 17, 255):
        yield patched(f"shift-{shift}", "the shift is 1 to 16", 3, shift)
    for name, why, number, tap in (
        ("back-0-1", "no channel before the first", 0, context.Tap(1, 0, 0, False)),
        ("back-1-2", "no two channels before the second", 1, context.Tap(2, -1, 0, True)),
        ("self", "a symbol cannot tell of itself", 0, context.Tap(0, 0, 0, True)),
        ("left", "a symbol in the same row", 1, context.Tap(0, 0, -1, False)),
        ("below", "a symbol that comes later", 1, context.Tap(0, 1, 0, False)),
        ("row", "3 rows away", 1, context.Tap(1, 3, -2, False)),
        ("far", "23 rows away", 1, context.Tap(1, 23, 0, True)),
    ):
        yield changed(f"tap-{name}", why, number, taps=[good[number].taps[0], tap])
    why = "the sum of a unit is beyond 32767"
    weights = [[1, 1], [1, -1]]
    for name, bias in (("sum", 32766), ("sum-negative", -32766), ("sum-least", -32768)):
        yield changed(name, why, 0, weights=weights, biases=[0, bias])
    wide = codec_of("relu", ref.INT8, [2, 3])
    one_tap = constant_network(2, 32764, [0], 1)._replace(weights=[[-1]])
    tap = context.Tap(0, -1, 0, False)
    for name, bias in (("sum-levels", 32765), ("sum-levels-weight", -32765)):
        network = one_tap._replace(taps=[tap], biases=[bias])
        yield entry(name, why, context.build([network]), wide)
    context.check_body(context.build([one_tap._replace(taps=[tap])]), 2, 1)
    why = "the outputs of a node are beyond 65535"
    for name, outputs in (("outputs", [-32768, -32768, 0]), ("outputs-2", [32767, 32767, -2])):
        network = constant_network(2, 0, outputs, 1)
        yield entry(name, why, context.build([network]), wide)

    # payloads
    rng = random.Random("bad context payloads")
    network = random_network(rng, 2, 0, 5, 2, 1, 9)
    codec = codec_of("relu", ref.FLOAT32, [6, 40], None, model_of(2, [network]).whole)
    frame = ref.encode_context(codec, feature_of(codec, likely_indices(rng, codec)))
    assert frame[1] == ref.CONTEXT
    payload = frame[6:-4]
    number, size = int.from_bytes(payload, "big"), len(payload)
    above = ((number + step).to_bytes(size, "big") for step in range(1, 256))
    cuts = (payload[:length] for length in range(2, size))
    for name, why, data in (
        ("none", "a payload has a byte", b""),
        ("zero", "a zero at the end", payload + b"\0"),
        ("zeros", "zeros at the end", payload + bytes(5)),
        ("two-zeros", "zeros only, and more than one", bytes(2)),
        ("short", "ends early", payload[:-1]),
        ("shorter", "ends early", _first_bad(codec, cuts)),
        ("longer", "a byte follows", payload + b"\x01"),
        ("half", "another number of the last range", payload + b"\x80"),
        ("next", "not the least number of its range", _first_bad(codec, above)),
        ("outside", "a number beyond the first range", b"\xff" * 4 + payload[4:]),
        ("outside-1", "a number beyond the first range", b"\xff" * 4 + b"\x01"),
        ("as-long", "as long as the packed indices", bytes(59) + b"\1"),
        ("too-long", "longer than the packed indices", bytes(70) + b"\1"),
    ):
        wrong = ref.build(codec, ref.CONTEXT, data)
        yield bad(f"context-payload-{name}", why, wrong, codec)
    for name, data in (("short", payload[:-1]), ("zero", payload + b"\0")):
        wrong = ref.build(codec, ref.CONTEXT, data, self_describing=True)
        yield bad(f"context-payload-{name}-self", "no encoder writes it", wrong, codec)
    alone = codec._replace(model=b"")
    wrong = ref.build(alone, ref.CONTEXT, payload, self_describing=True)
    yield bad("context-no-model", "the coder needs a model", wrong, alone)
    other = codec._replace(model=model_of(2, [network._replace(shift=8)]).whole)
    yield bad("context-mismatch", "made with another model", ref.build(other, 4, payload), codec)


def _first_bad(codec: ref.Codec, payloads: Iterable[bytes]) -> bytes:
    """The first that is refused: changed payloads may be right ones of other features."""
    for payload in payloads:
        try:
            ref.decode_planes(codec, ref.CONTEXT, payload)
        except ref.CorruptFrameError:
            return payload
    raise AssertionError("all of them are right")


def _crc32(data: bytes) -> bytes:
    import zlib

    return struct.pack("<I", zlib.crc32(data))


def _bad_lzma() -> Iterator[tuple[str, str, ref.Codec, int, bytes]]:
    codec = codec_of("relu", ref.INT8, [16, 16])  # packed: 64 bytes
    packed = bytes(64)
    good = ref.encode_lzma(packed)
    padded = codec_of("relu", ref.INT8, [257])  # packed: 65 bytes, the last with 6 unused bits

    def entry(name: str, why: str, payload: bytes, own: ref.Codec = codec) -> Any:
        return f"lzma-{name}", why, own, ref.LZMA, payload

    yield entry("none", "an lzma payload has 6 bytes or more", b"")
    yield entry("one", "ends early", b"\xff")
    yield entry("four", "ends early", b"\xff" + bytes(3))
    yield entry("short", "ends early", good[:-1])
    yield entry("trailing", "a byte follows the stream", good + b"\0")
    rng = random.Random("lzma garbage")
    for i in range(6):
        garbage = bytes(rng.randrange(256) for _ in range(rng.randrange(5, 63)))
        yield entry(f"garbage-{i}", "random bytes behind the first", b"\xff" + garbage)
    yield entry("first-byte-0", "properties are 0xff", b"\0" + good[1:])
    yield entry("first-byte-a2", "properties of lc = 3, lp = 0, pb = 2", b"\xa2" + good[1:])
    yield entry("first-byte-fe", "properties of lc = 1", b"\xfe" + good[1:])
    yield entry("not-finished", "the range coder does not end at 0", _plus_one(good))

    def written(size: int, *steps: tuple[Any, ...]) -> bytes:
        writer = ref.LzmaWriter()
        for step, *arguments in steps:
            getattr(writer, step)(*arguments)
        assert len(writer.out) == size, len(writer.out)
        return writer.finish()

    yield entry("less", "gives fewer bytes", written(63, ("literal", 0), ("match", 1, 62)))
    yield entry("more", "gives more bytes", written(65, ("literal", 0), ("match", 1, 64)))
    yield entry(
        "more-literal",
        "gives more bytes",
        written(65, ("literal", 0), ("match", 1, 63), ("literal", 1)),
    )
    yield entry("before-match", "a match before the first byte", written(64, ("match", 1, 64)))
    yield entry("before-repeat", "a repeat before the first byte", written(64, ("repeat", 0, 64)))
    yield entry(
        "before-short",
        "a repeat before the first byte",
        written(64, ("repeat", 0, 1), ("match", 1, 63)),
    )
    yield entry(
        "too-far", "a distance beyond the first byte", written(64, ("literal", 0), ("match", 2, 63))
    )
    yield entry(
        "too-far-2gib",
        "a distance beyond the first byte",
        written(64, ("literal", 0), ("match", 2**31, 63)),
    )
    yield entry(
        "end-marker",
        "an end marker behind the last byte",
        written(66, ("literal", 0), ("match", 1, 63), ("match", 2**32, 2)),
    )
    yield entry(
        "end-marker-early",
        "an end marker in place of bytes",
        written(42, ("literal", 0), ("match", 1, 39), ("match", 2**32, 2)),
    )
    yield entry("stored", "as long as the packed indices", b"\xff" + bytes(63))
    yield entry("longer", "longer than the packed indices", b"\xff" + bytes(99))
    small = codec_of("relu", ref.INT8, [36])  # packed: 9 bytes
    candidates = (ref.encode_lzma(bytes([*range(1, i), *[i] * (10 - i)])) for i in range(1, 10))
    as_long = next(payload for payload in candidates if len(payload) == 9)
    yield entry("not-shorter", "right, but not shorter than the packed indices", as_long, small)
    for bit in (2, 7):
        filled = bytes(64) + bytes([1 << bit])
        yield entry(f"padding-{bit}", "an unused bit is set", ref.encode_lzma(filled), padded)


def _plus_one(payload: bytes) -> bytes:
    return (int.from_bytes(payload, "big") + 1).to_bytes(len(payload), "big")


# ------------------------------------------------------------------ files


def stored_payloads() -> dict[tuple[str, str], str]:
    path = HERE / "lzma.json"
    found: dict[tuple[str, str], str] = {}
    if path.exists():
        for entry in json.loads(path.read_text(encoding="utf-8")):
            name, encoder = entry["name"][len("lzma-") :].rsplit("-", 1)
            if encoder == "liblzma":
                found[name, encoder] = entry["payload"]
    return found


def files() -> dict[str, str]:
    contents = {
        "codebooks.json": codebook_entries(),
        "quantize.json": quantize_entries(),
        "narrow.json": narrow_entries(),
        "pack.json": pack_entries(),
        "narrow-frames.json": narrow_frame_entries(),
        "shapes.json": shape_entries(),
        "channels.json": channel_entries(),
        "slices.json": slice_entries(),
        "lzma.json": lzma_entries(stored_payloads()),
        "range.json": range_vectors.entries(),
        "context.json": context_entries(),
        "bad.json": bad_entries(),
    }
    return {
        name: "[\n" + ",\n".join(map(json.dumps, entries)) + "\n]\n"
        for name, entries in contents.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only (the default)")
    parser.add_argument("--write", action="store_true", help="write the files")
    arguments = parser.parse_args()
    if arguments.check and arguments.write:
        parser.error("--check or --write, not both")
    different = []
    for name, text in files().items():
        path = HERE / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        different.append(name)
        if arguments.write:
            path.write_text(text, encoding="utf-8")
    if different:
        print("written:" if arguments.write else "different:", ", ".join(different))
    return int(bool(different) and not arguments.write)


if __name__ == "__main__":
    sys.exit(main())
