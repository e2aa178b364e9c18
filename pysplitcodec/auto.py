"""Codecs whose coder has learned from calibration features, or was chosen by them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pysplitcodec.codebook import Codebook, as_plain
from pysplitcodec.codec import Codec, coders
from pysplitcodec.context_model import ContextModel
from pysplitcodec.errors import ArgumentError, FeatureError
from pysplitcodec.model import CoderModel
from pysplitcodec.range_model import RangeModel
from pysplitcodec.rans import RansModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Device", "Trial", "fit_codec", "try_coders"]

_HELD_BACK = 5  # one sample in so many is not learned from, but measured
_MEASURED = 32  # samples, at most
_ROUNDS = 3


@dataclass(frozen=True)
class Device:
    """Who encodes, and over what: what `fit_codec` weighs bytes and time by.

    bytes_per_s: of the link.  slowdown: how many times longer than on this machine encoding takes
    there.  model_bytes: room for a coder's model.  coders: those that the device has; all, if None.
    """

    bytes_per_s: float = 125_000.0
    slowdown: float = 1.0
    model_bytes: int = 40_000
    coders: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Raise ArgumentError on what no device has."""
        for name in ("bytes_per_s", "slowdown"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not value > 0:
                raise ArgumentError(f"{name} is {value!r}: expected a number above 0")
        unknown = set(self.coders or ()) - set(coders())
        if unknown or self.coders == ():
            raise ArgumentError(
                f"coders is {self.coders!r}: expected some of {', '.join(coders())}"
            )


@dataclass(frozen=True)
class Trial:
    """What one coder makes of calibration features that it has not learned from.

    frame_bytes: the mean of compact frames.  encode_s, send_s: mean time of one on the device and
    its link; total_s: both.
    """

    codec: Codec
    frame_bytes: float
    encode_s: float
    send_s: float

    @property
    def total_s(self) -> float:
        """Seconds from a feature to its last byte sent."""
        return self.encode_s + self.send_s


def fit_codec(
    codebook: Codebook | Sequence[Codebook],
    features: NDArray[Any],
    coder: str = "auto",
    *,
    channel_axis: int | None = None,
    device: Device = Device(),
) -> Codec:
    """Return a codec for such features whose coder has learned from them what it can.

    features: calibration features [samples, ...], of the shape and dtype to be coded; a hundred and
    more.  coder: its name, or "auto" for the one of least time on the device and its link, by
    `try_coders`.  codebook, channel_axis: as for Codec, of one sample.  Takes seconds to minutes
    where a model is trained.  Raises FeatureError or ArgumentError.

    >>> rng = np.random.default_rng(0)
    >>> features = np.cumsum(rng.normal(size=(20, 4, 8, 8)), axis=-1).astype(np.float32)
    >>> book = Codebook.fit(features, bits=2)
    >>> fit_codec(book, features, "rans").model
    <RansModel of 2 bits and 4 channels: 140 bytes>
    """
    if coder != "auto":
        samples = _checked(features)
        plain = _plain(codebook, samples, channel_axis)
        return _learned(plain, coder, _indices(plain, samples), device)
    best = try_coders(codebook, features, channel_axis=channel_axis, device=device)[0]
    if best.codec.model is None:
        return best.codec
    return fit_codec(codebook, features, best.codec.coder, channel_axis=channel_axis, device=device)


def try_coders(
    codebook: Codebook | Sequence[Codebook],
    features: NDArray[Any],
    *,
    channel_axis: int | None = None,
    device: Device = Device(),
) -> list[Trial]:
    """Measure the device's coders on features, the best of them first.

    One sample in five is measured, and not learned from.  Arguments as for `fit_codec`.
    """
    samples = _checked(features)
    plain = _plain(codebook, samples, channel_axis)
    held_back = samples[::_HELD_BACK][:_MEASURED]
    indices = _indices(plain, np.delete(samples, np.s_[::_HELD_BACK], axis=0))
    names = device.coders or tuple(name for name, there in coders().items() if there)
    trials = []
    for name in names:
        try:
            codec = _learned(plain, name, indices, device)
        except ArgumentError:  # no model is as small as the device wants it
            continue
        trials.append(_trial(codec, held_back, device))
    if not trials:
        raise ArgumentError(f"device is {device!r}: expected room for a model of its coders")
    return sorted(trials, key=lambda trial: trial.total_s)


def _trial(codec: Codec, features: NDArray[Any], device: Device) -> Trial:
    rounds, size = [], 0
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        size = sum(len(codec.encode(feature)) for feature in features)
        rounds.append(time.perf_counter() - start)
    mean = size / len(features)
    encode_s = min(rounds) / len(features) * device.slowdown
    return Trial(codec, mean, encode_s, mean / device.bytes_per_s)


def _learned(plain: Codec, coder: str, indices: NDArray[np.uint8], device: Device) -> Codec:
    """The codec with the coder, and what that learns from the indices."""
    axis = plain.channel_axis
    planar = indices if axis is not None or indices.ndim >= 4 else indices[:, None]
    at, room = 0 if axis is None else axis, device.model_bytes
    model: CoderModel | None = None
    if coder == "rans":
        model = RansModel.fit(planar, plain.bits, channel_axis=at)
    elif coder == "context":
        model = ContextModel.fit(planar, plain.bits, channel_axis=at, budget_bytes=room)
    elif coder == "range":
        model = RangeModel.fit(planar, plain.bits, channel_axis=at, budget_bytes=room)
    if model is not None and len(model) > room:
        raise ArgumentError(f"model_bytes is {room}: expected {len(model)} for coder {coder!r}")
    return Codec(
        plain.codebook,
        coder,
        shape=plain.shape,
        dtype=plain.dtype,
        channel_axis=axis,
        model=model,
    )


def _checked(features: NDArray[Any]) -> NDArray[Any]:
    samples = as_plain(features, name="features")
    if samples.ndim < 2 or len(samples) < 2 or samples.size == 0:
        raise FeatureError(
            f"features have shape {samples.shape}: expected (samples, ...), at least 2 samples"
        )
    return samples


def _plain(
    codebook: Codebook | Sequence[Codebook], samples: NDArray[Any], channel_axis: int | None
) -> Codec:
    """What quantises the samples, before a coder is chosen."""
    dtype: Any = samples.dtype.name
    return Codec(codebook, "pack", shape=samples.shape[1:], dtype=dtype, channel_axis=channel_axis)


def _indices(plain: Codec, samples: NDArray[Any]) -> NDArray[np.uint8]:
    return np.stack([plain.quantize(sample) for sample in samples])
