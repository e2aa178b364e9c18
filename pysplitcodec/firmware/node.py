"""A node, firmware that encodes with its plan, seen from the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pysplitcodec.codec import Codec
from pysplitcodec.errors import CodecMismatchError, FeatureError, FirmwareError
from pysplitcodec.firmware.link import Link
from pysplitcodec.native import CODERS, DTYPES

__all__ = ["Node", "NodeInfo"]

_VERSION = 1
_INFO, _FEATURE, _CLUSTER, _BEGIN, _TILE, _END, _QUIT = "i", "f", "c", "b", "t", "e", "q"


@dataclass(frozen=True)
class NodeInfo:
    """What a node says of its plan.

    elements: of a feature; frame_bytes: room for a frame; tile_elements: that a tile may have, 0 if
    features go whole.
    """

    coder: str
    dtype: str
    bits: int
    codec_id: int
    elements: int
    frame_bytes: int
    tile_elements: int


class Node:
    """Features to a node, frames from it.

    codec: the one whose plan the node has.  Raises CodecMismatchError if it has another,
    FirmwareError if it does not answer.
    """

    def __init__(self, link: Link, codec: Codec) -> None:
        self._link = link
        self._codec = codec
        self.info = _parsed(link.request(_INFO)[1])
        self.ticks: int | None = None
        if self.info.codec_id != codec.id:
            raise CodecMismatchError(
                f"the node has codec {self.info.codec_id:08x}, this is {codec.id:08x}"
            )

    def encode(self, feature: Any, timeout_s: float = 60.0, cores: int | None = None) -> bytes:
        """Return the frame that the node makes of a feature, what `Codec.encode` returns here.

        feature: an array of the codec's shape and dtype; cores: how many of its cluster's are to
        encode it, if the node is one of a cluster.  `ticks` then says what the encoder took,
        if the feature went whole.  Raises FeatureError, and FirmwareError for the node's errors,
        after which it takes the next feature.
        """
        if feature.shape != self._codec.shape or feature.dtype.name != self._codec.dtype:
            raise FeatureError(
                f"feature is {feature.dtype.name} of shape {feature.shape}: expected "
                f"{self._codec.dtype} of shape {self._codec.shape}"
            )
        data = feature.astype(feature.dtype.newbyteorder("<"), copy=False).tobytes()
        if self.info.tile_elements:
            return self._in_tiles(data, feature.dtype.itemsize, timeout_s)
        if cores is None:
            _, body = self._link.request(_FEATURE, data, timeout_s)
        else:
            _, body = self._link.request(_CLUSTER, cores.to_bytes(4, "little") + data, timeout_s)
        self.ticks = int.from_bytes(body[:4], "little")
        return body[4:]

    def _in_tiles(self, data: bytes, size: int, timeout_s: float) -> bytes:
        step = self.info.tile_elements * size
        pieces = [self._link.request(_BEGIN, b"", timeout_s)[1]]
        for at in range(0, len(data), step):
            pieces.append(self._link.request(_TILE, data[at : at + step], timeout_s)[1])
        pieces.append(self._link.request(_END, b"", timeout_s)[1])
        return b"".join(pieces)

    def quit(self) -> None:
        """End its program."""
        self._link.request(_QUIT)


def _parsed(body: bytes) -> NodeInfo:
    if len(body) != 20 or body[0] != _VERSION:
        raise FirmwareError(f"the node speaks another version than {_VERSION}: {body.hex()}")
    numbers = [int.from_bytes(body[at : at + 4], "little") for at in range(4, 20, 4)]
    names = ({number: name for name, number in table.items()} for table in (CODERS, DTYPES))
    coder, dtype = (table.get(body[at], "?") for table, at in zip(names, (1, 2)))
    return NodeInfo(coder, dtype, body[3], *numbers)
