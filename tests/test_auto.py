"""Codecs that learn from calibration features, and the choice between coders."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pysplitcodec as sc
from pysplitcodec.errors import ArgumentError, FeatureError


@pytest.fixture(scope="module")
def features() -> Any:
    """Smooth maps: 60 of 3 channels, cut to zero at half."""
    steps = np.random.default_rng(5).normal(size=(60, 3, 12, 16))
    walk = np.cumsum(np.cumsum(steps, axis=-1), axis=-2)
    return np.maximum(walk, 0).astype(np.float32)


@pytest.fixture(scope="module")
def book(features: Any) -> sc.Codebook:
    return sc.Codebook.fit(features, bits=2)


@pytest.mark.parametrize("coder", [name for name, there in sc.coders().items() if there])
def test_a_named_coder_learns_what_it_can(coder: str, book: sc.Codebook, features: Any) -> None:
    codec = sc.fit_codec(book, features, coder, device=sc.Device(model_bytes=2000))
    assert codec.coder == coder
    assert (codec.model is not None) == (coder in ("range", "rans", "context"))
    assert codec.model is None or len(codec.model) <= 2000
    restored = codec.decode(codec.encode(features[0]))
    np.testing.assert_array_equal(restored, book.centroids[book.quantize(features[0])])


def test_a_slow_link_gets_the_fewest_bytes(book: sc.Codebook, features: Any) -> None:
    device = sc.Device(bytes_per_s=10, model_bytes=3000)
    trials = sc.try_coders(book, features, device=device)
    assert {trial.codec.coder for trial in trials} == {
        name for name, there in sc.coders().items() if there
    }
    assert [trial.total_s for trial in trials] == sorted(trial.total_s for trial in trials)
    assert trials[0].frame_bytes == min(trial.frame_bytes for trial in trials)
    chosen = sc.fit_codec(book, features, device=device)
    assert chosen.coder == trials[0].codec.coder != "pack"


def test_a_slow_device_on_a_fast_link_packs(book: sc.Codebook, features: Any) -> None:
    device = sc.Device(bytes_per_s=1e12, slowdown=1000, model_bytes=3000)
    assert sc.fit_codec(book, features, device=device).coder == "pack"


def test_only_what_the_device_has(book: sc.Codebook, features: Any) -> None:
    small = sc.Device(bytes_per_s=10, model_bytes=20)
    names = {trial.codec.coder for trial in sc.try_coders(book, features, device=small)}
    assert not names & {"rans", "context"}
    lean = sc.Device(bytes_per_s=10, coders=("pack", "range"))
    assert {trial.codec.coder for trial in sc.try_coders(book, features, device=lean)} == {
        "pack",
        "range",
    }
    with pytest.raises(ArgumentError, match="model_bytes is 20"):
        sc.fit_codec(book, features, "rans", device=small)


def test_channels_last_and_by_channel(features: Any) -> None:
    last = np.ascontiguousarray(np.moveaxis(features, 1, -1))
    books = sc.Codebook.fit_channels(last, 2, -1)
    codec = sc.fit_codec(books, last, "rans", channel_axis=-1)
    assert codec.channel_axis == 2 and codec.model is not None and codec.model.channels == 3
    np.testing.assert_array_equal(
        codec.quantize(last[1]), codec.quantize(codec.decode(codec.encode(last[1])))
    )


def test_one_channel(book: sc.Codebook, features: Any) -> None:
    plane = np.ascontiguousarray(features[:, 0])
    codec = sc.fit_codec(book, plane, "context", device=sc.Device(model_bytes=500))
    assert codec.model is not None and codec.model.channels == 1
    assert codec.decode(codec.encode(plane[0])).shape == (12, 16)


def test_bad_arguments(book: sc.Codebook, features: Any) -> None:
    with pytest.raises(FeatureError, match="at least 2 samples"):
        sc.fit_codec(book, features[0, 0, :1], "lzma")
    with pytest.raises(ArgumentError, match="bytes_per_s is 0"):
        sc.Device(bytes_per_s=0)
    with pytest.raises(ArgumentError, match="slowdown is 'x'"):
        sc.Device(slowdown="x")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="coders is"):
        sc.Device(coders=("zip",))
    with pytest.raises(ArgumentError, match="coder is 'zip'"):
        sc.fit_codec(book, features, "zip")
