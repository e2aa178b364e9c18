"""The edge's side of a split model: head and codec here, the tail behind a link."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Union

import numpy as np
import numpy.typing as npt

from pysplitcodec.codec import Codec
from pysplitcodec.errors import ArgumentError, FeatureError, ServerError
from pysplitcodec.frame import inspect
from pysplitcodec.runtime import Model
from pysplitcodec.serve.closing import Closing
from pysplitcodec.serve.sender import Delivered, Sender

if TYPE_CHECKING:
    from pysplitcodec.serve.transport import Transport

__all__ = ["EdgeClient", "EdgeReply"]

Array = npt.NDArray[Any]
Fallback = Union[Model, Literal["skip"], None]

# Samples that statistics are of, and the share of the latest in the time that is expected.
_KEPT = 1024
_SHARE_OF_LAST = 0.2
# Each sample that is not sent for the link is too slow makes the next a little more likely to be.
_FORGET = 0.9

_log = logging.getLogger("pysplitcodec.serve")


@dataclass(frozen=True)
class EdgeReply:
    """The outputs of a split model, and where the time and the bytes went.

    outputs: by name; empty for a sample that was skipped.
    head_s, encode_s: seconds in the head, and in encoding its feature.
    decode_s, tail_s: seconds the server spent on decoding, and in the tail.
    roundtrip_s: seconds from when the frame was ready until its answer was here.
    frame_len, payload_len: bytes of the frame sent, and of the payload in it.
    fallback: why the sample was not answered by the tail; None if it was.

    Times are NaN, and lengths 0, of what did not happen.
    """

    outputs: Mapping[str, Array]
    head_s: float = math.nan
    encode_s: float = math.nan
    decode_s: float = math.nan
    tail_s: float = math.nan
    roundtrip_s: float = math.nan
    frame_len: int = 0
    payload_len: int = 0
    fallback: str | None = None

    @classmethod
    def here(cls, model: Model, inputs: Sequence[npt.ArrayLike], why: str | None) -> EdgeReply:
        """What a whole model on the device makes of a sample."""
        names = [output.name for output in model.outputs]
        return cls(dict(zip(names, model(*inputs))), fallback=why)


class _Sent(NamedTuple):
    """A sample on its way; reply is None if it was not sent, for the reason `why`."""

    inputs: tuple[npt.ArrayLike, ...]
    head_s: float
    encode_s: float
    frame: bytes
    reply: Future[Delivered] | None
    why: str | None


class EdgeClient(Closing):
    """A split model as the edge device sees it; close it, or use it in a `with` statement.

    head: has one output, of the codec's dtype and shape, or with a leading batch axis of 1.
    transport: to the tail server.  model: the tail's name there, "" for the first.  timeout_s: how
    long one sample may take from its frame to its answer.  resend_s: see `Sender`.  waiting: frames
    under way at a time.

    fallback: what happens to a sample where the link is down, its answer does not come in time, or
    is not expected to by those before: a whole model runs it here, or it is skipped; None:
    ServerError.

    Raises ArgumentError if head and codec do not fit each other.
    """

    def __init__(
        self,
        head: Model,
        codec: Codec,
        transport: Transport,
        model: str = "",
        *,
        timeout_s: float = 10.0,
        resend_s: float | None = None,
        waiting: int = 16,
        fallback: Fallback = None,
    ) -> None:
        if len(head.outputs) != 1:
            raise ArgumentError(f"the head has {len(head.outputs)} outputs: expected one")
        output = head.outputs[0]
        if output.dtype != codec.dtype or output.shape not in (codec.shape, (1, *codec.shape)):
            raise ArgumentError(
                f"the head gives {output.dtype} of shape {output.shape}: the codec is for "
                f"{codec.dtype} features of shape {codec.shape}"
            )
        self.head = head
        self.codec = codec
        self._fallback = fallback
        self._sender = Sender(
            transport, model, timeout_s=timeout_s, resend_s=resend_s, waiting=waiting
        )
        self._window = waiting
        self._expected_s = 0.0
        self._replies: deque[EdgeReply] = deque(maxlen=_KEPT)
        self._samples = self._not_sent = 0

    def run(self, *inputs: npt.ArrayLike) -> EdgeReply:
        """Run the split model on one sample.

        inputs: what the head takes.  Raises ModelError if they do not fit it, FeatureError if they
        hold more than one sample, ServerError if the server is not there, refuses or fails, and
        there is no fallback.
        """
        why = self._unavailable()
        if why is not None:
            return self._here(inputs, why)
        return self._finished(self._sent(inputs, *self._feature(inputs)))

    async def run_async(self, *inputs: npt.ArrayLike) -> EdgeReply:
        """As `run`, without holding up the event loop."""
        return await asyncio.get_running_loop().run_in_executor(None, self.run, *inputs)

    def stream(self, samples: Iterable[npt.ArrayLike]) -> Iterator[EdgeReply]:
        """The replies to samples, in their order, while head, codec and link work side by side.

        samples: inputs of a head that has one.  Raises as `run`.
        """
        with (
            ThreadPoolExecutor(1, thread_name_prefix="head") as heads,
            ThreadPoolExecutor(1, thread_name_prefix="codec") as codecs,
        ):
            under_way: deque[Future[_Sent]] = deque()
            try:
                for sample in samples:
                    under_way.append(self._begin((sample,), heads, codecs))
                    if len(under_way) > self._window:
                        yield self._finished(under_way.popleft().result())
                while under_way:
                    yield self._finished(under_way.popleft().result())
            finally:
                for one in under_way:
                    one.cancel()

    def statistics(self) -> dict[str, Any]:
        """What happened so far: counts and bytes of all samples, milliseconds of the last 1,024.

        `ms` has p50, p90 and p99 of each stage: head, encode, decode, tail, roundtrip, and link,
        which is the round trip without what the server says it took.
        """
        kept = list(self._replies)
        stages = {
            name: [getattr(reply, f"{name}_s") for reply in kept]
            for name in ("head", "encode", "decode", "tail", "roundtrip")
        }
        stages["link"] = [r.roundtrip_s - r.decode_s - r.tail_s for r in kept]
        sent = self._sender.stats
        return {
            "samples": self._samples,
            "fallbacks": self._not_sent,
            "resent": sent.resent,
            "repeated": sent.repeated,
            "connected": sent.connected,
            "sent_bytes": sent.sent_bytes,
            "ms": {name: _percentiles(values) for name, values in stages.items()},
        }

    def close(self) -> None:
        """Disconnect; samples that are under way fail."""
        self._sender.close()

    def _begin(
        self,
        inputs: tuple[npt.ArrayLike, ...],
        heads: ThreadPoolExecutor,
        codecs: ThreadPoolExecutor,
    ) -> Future[_Sent]:
        why = self._unavailable()
        if why is not None:
            unsent: Future[_Sent] = Future()
            unsent.set_result(_Sent(inputs, math.nan, math.nan, b"", None, why))
            return unsent
        feature = heads.submit(self._feature, inputs)
        return codecs.submit(lambda: self._sent(inputs, *feature.result()))

    def _unavailable(self) -> str | None:
        """Why a sample is not sent at all, if something else can be done with it."""
        if self._fallback is None:
            return None
        down = self._sender.down
        if down is not None:
            return str(down)
        if self._expected_s > self._sender.timeout_s:
            expected_s, self._expected_s = self._expected_s, self._expected_s * _FORGET
            return f"an answer is expected after {expected_s:.3g} s"
        return None

    def _feature(self, inputs: tuple[npt.ArrayLike, ...]) -> tuple[Array, float]:
        begin = time.perf_counter()
        (feature,) = self.head(*inputs)
        head_s = time.perf_counter() - begin
        if feature.size != math.prod(self.codec.shape):
            raise FeatureError(
                f"the head gave shape {feature.shape}: expected one feature of {self.codec.shape}"
            )
        return feature, head_s

    def _sent(self, inputs: tuple[npt.ArrayLike, ...], feature: Array, head_s: float) -> _Sent:
        begin = time.perf_counter()
        frame = self.codec.encode(feature.reshape(self.codec.shape))
        encode_s = time.perf_counter() - begin
        return _Sent(inputs, head_s, encode_s, frame, self._sender.submit(frame), None)

    def _finished(self, sent: _Sent) -> EdgeReply:
        """The reply to a sample, once it is here, or what the fallback makes of it."""
        if sent.reply is None:
            assert sent.why is not None
            return self._here(sent.inputs, sent.why)
        try:
            reply, roundtrip_s = sent.reply.result()
        except ServerError as error:
            if self._fallback is None:
                raise
            if error.status is None:  # it took too long
                self._expect(2 * self._sender.timeout_s)
            return self._here(sent.inputs, str(error))
        self._expect(roundtrip_s)
        self._samples += 1
        self._replies.append(
            EdgeReply(
                reply.outputs,
                sent.head_s,
                sent.encode_s,
                reply.decode_s,
                reply.tail_s,
                roundtrip_s,
                len(sent.frame),
                inspect(sent.frame).payload_len,
            )
        )
        return self._replies[-1]

    def _expect(self, roundtrip_s: float) -> None:
        self._expected_s += _SHARE_OF_LAST * (roundtrip_s - self._expected_s)

    def _here(self, inputs: tuple[npt.ArrayLike, ...], why: str) -> EdgeReply:
        if not self._not_sent:
            _log.warning("the fallback runs, for the first time: %s", why)
        self._samples += 1
        self._not_sent += 1
        if self._fallback is None or isinstance(self._fallback, str):
            return EdgeReply({}, fallback=why)
        return EdgeReply.here(self._fallback, inputs, why)


def _percentiles(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    found = np.percentile(seconds, (50, 90, 99)) * 1e3
    return dict(zip(("p50", "p90", "p99"), map(float, found.round(3))))
