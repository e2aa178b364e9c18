"""Coders' models, as far as all coders share them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pysplitcodec as sc
from pysplitcodec import Codebook, Codec, errors
from pysplitcodec.model import CoderModel, checked_planes, framed, load_model
from pysplitcodec.native import CODERS, core

BOOK = Codebook([0, 1, 2, 3])
LATER = [name for name in CODERS if name not in ("pack", "lzma")]  # those that take models


def with_checksum(data: bytes) -> bytes:
    return data + core.crc32c(data).to_bytes(4, "little")


GOOD = framed("context", 2, 3, b"body")
WRONG = {
    "empty": b"",
    "magic": b"SPM\1",
    "short": with_checksum(GOOD[:7]),
    "cut": GOOD[:-1],
    "longer": GOOD + b"\0",
    "damaged": GOOD[:9] + bytes([GOOD[9] ^ 1]) + GOOD[10:],
    "checksum": GOOD[:-1] + bytes([GOOD[-1] ^ 1]),
    "frame": with_checksum(b"SPC" + GOOD[3:-4]),
    "version-0": with_checksum(b"SPM\0" + GOOD[4:-4]),
    "version-2": with_checksum(b"SPM\2" + GOOD[4:-4]),
    "coder-pack": framed("pack", 2, 3, b"body"),
    "coder-5": with_checksum(GOOD[:4] + b"\5" + GOOD[5:-4]),
    "coder-255": with_checksum(GOOD[:4] + b"\xff" + GOOD[5:-4]),
    "bits-0": framed("context", 0, 3, b"body"),
    "bits-9": framed("context", 9, 3, b"body"),
    "channels-0": framed("context", 2, 0, b"body"),
}


@pytest.fixture(params=["_core", "_abi"])
def module(request: pytest.FixtureRequest) -> Any:
    """Each binding."""
    return pytest.importorskip(f"pysplitcodec.{request.param}")


def test_header() -> None:
    assert GOOD[:8] == b"SPM\1\4\2\3\0"
    assert GOOD[8:-4] == b"body"
    assert framed("range", 8, 0x1234, b"")[4:8] == b"\2\x08\x34\x12"


@pytest.mark.parametrize("name", WRONG)
def test_wrong_bytes(name: str, module: Any) -> None:
    with pytest.raises(errors.CoderModelError):
        module.Model(WRONG[name])
    with pytest.raises(errors.CoderModelError):
        CoderModel(WRONG[name])
    with pytest.raises(errors.CoderModelError):
        load_model(WRONG[name])


@pytest.mark.parametrize("coder", LATER)
def test_bodies_are_checked(coder: str, module: Any) -> None:
    # all else is right; a build that lacks the coder cannot say more
    there = sc.coders()[coder]
    expected = errors.CoderModelError if there else errors.CoderUnavailableError
    for read in (module.Model, CoderModel, load_model):
        with pytest.raises(expected):
            read(framed(coder, 2, 3, b"\xff" * 7))


def test_any_bytes_like_object_is_tried(module: Any) -> None:
    found = set()
    for like in (GOOD, bytearray(GOOD), memoryview(GOOD), np.frombuffer(GOOD, np.uint8)):
        try:
            module.Model(like)
        except errors.SplitCodecError as error:
            found.add(type(error))
    assert len(found) <= 1
    for wrong in (None, 5, "SPM", [1, 2]):
        with pytest.raises(TypeError):
            module.Model(wrong)
    with pytest.raises(BufferError):
        module.Model(memoryview(GOOD)[::2])


def test_wrong_files(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(WRONG["damaged"])
    with pytest.raises(errors.CoderModelError):
        CoderModel.load(tmp_path / "model")
    with pytest.raises(FileNotFoundError):
        CoderModel.load(tmp_path / "none")


@pytest.mark.parametrize("model", ["model", b"SPM\1", GOOD, 0, object()])
def test_codecs_take_models_only(model: Any) -> None:
    with pytest.raises(errors.ArgumentError, match=f"model is a {type(model).__name__}"):
        Codec(BOOK, "pack", shape=(3, 4), model=model)
    with pytest.raises(errors.ArgumentError, match=f"model is a {type(model).__name__}"):
        sc.encode(np.zeros((3, 4), np.float32), BOOK, "pack", model=model)


@pytest.mark.parametrize("model", [None, 5, "", "?", "SPM", "U1BNAQ==", ["U1BNAQ=="]])
def test_wrong_models_of_descriptions(model: Any) -> None:
    description = Codec(BOOK, "pack", shape=(3, 4)).to_dict()
    assert "model" not in description
    with pytest.raises(errors.CoderModelError):
        Codec.from_dict({**description, "model": model})


@pytest.mark.parametrize("coder", ["rans", "context"])
def test_coders_that_need_a_model(coder: str) -> None:
    there = sc.coders()[coder]
    expected = errors.CoderModelError if there else errors.CoderUnavailableError
    with pytest.raises(expected, match=coder):
        Codec(BOOK, coder, shape=(3, 4))


def test_codecs_without_a_model() -> None:
    codec = Codec(BOOK, "pack", shape=(3, 4))
    assert codec.model is None
    assert "model" not in repr(codec)


def test_refusals_through_cffi() -> None:
    code = (
        "from pysplitcodec.model import CoderModel, framed\n"
        "from pysplitcodec import errors, native\n"
        "assert native.binding() == 'cffi'\n"
        "good = framed('context', 2, 3, bytes(300))\n"
        "for data in (good[:-1], good + b'0', framed('context', 0, 3, b''), b''):\n"
        "    try:\n"
        "        CoderModel(data)\n"
        "    except errors.CoderModelError:\n"
        "        print('refused')\n"
    )
    pytest.importorskip("cffi")
    done = subprocess.run(
        [sys.executable, "-c", f"import os\nos.environ['SPLITCODEC_BINDING'] = 'cffi'\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["refused"] * 4


# ------------------------------------------------------------------ calibration indices


@pytest.mark.parametrize(
    ("axis", "shape"),
    [(0, (2, 3, 4, 5)), (-1, (2, 5, 3, 4)), (1, (2, 4, 3, 5)), (-3, (2, 3, 4, 5))],
)
def test_calibration_indices_as_planes(axis: int, shape: tuple[int, ...]) -> None:
    indices = np.arange(120, dtype=np.uint8).reshape(2, 3, 4, 5)
    planes = checked_planes(indices, 7, axis)
    assert planes.shape == shape and planes.flags.c_contiguous
    assert np.array_equal(planes, np.moveaxis(indices, axis % 3 + 1, 1))


def test_calibration_indices_of_few_and_many_dimensions() -> None:
    indices = np.arange(48, dtype=np.uint8)
    assert checked_planes(indices.reshape(6, 8), 6, 0).shape == (6, 8, 1, 1)
    assert checked_planes(indices.reshape(2, 4, 6), 6, 0).shape == (2, 4, 1, 6)
    assert checked_planes(indices.reshape(2, 2, 2, 2, 3), 6, -1).shape == (2, 3, 4, 2)


@pytest.mark.parametrize(
    ("indices", "bits", "axis", "error", "message"),
    [
        (np.zeros((2, 3), np.int8), 2, 0, errors.FeatureError, "dtype int8"),
        (np.zeros((2, 3), np.uint8), 0, 0, errors.ArgumentError, "bits is 0"),
        (np.zeros((2, 3), np.uint8), 9, 0, errors.ArgumentError, "bits is 9"),
        (np.zeros((2, 3), np.uint8), True, 0, errors.ArgumentError, "bits is True"),
        (np.zeros(3, np.uint8), 2, 0, errors.FeatureError, "shape"),
        (np.zeros((0, 3), np.uint8), 2, 0, errors.FeatureError, "not empty"),
        (np.full((2, 3), 4, np.uint8), 2, 0, errors.FeatureError, "indices reach 4"),
        (np.zeros((2, 3), np.uint8), 2, 1, errors.ArgumentError, "channel_axis is 1"),
        (np.zeros((2, 3), np.uint8), 2, -2, errors.ArgumentError, "channel_axis is -2"),
        (np.zeros((2, 3), np.uint8), 2, None, errors.ArgumentError, "channel_axis is None"),
    ],
)
def test_wrong_calibration_indices(
    indices: Any, bits: Any, axis: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        checked_planes(indices, bits, axis)
