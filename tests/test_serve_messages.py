"""Messages of links that are not HTTP: what is packed is read, and damage never does more."""

from __future__ import annotations

import math
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pysplitcodec.errors import ProtocolError
from pysplitcodec.serve.messages import DATATYPES, FrameReply, FrameRequest, Hello

IDS = st.integers(1, 2**64 - 1)
NAMES = st.text(max_size=60)  # up to 240 bytes
ARRAYS = st.sampled_from(DATATYPES).flatmap(
    lambda name: hnp.arrays(
        np.dtype(name), hnp.array_shapes(min_dims=0, max_dims=8, min_side=0, max_side=2)
    )
)
READERS = [FrameRequest.read, FrameReply.read, Hello.read]

REPLY = FrameReply(
    7, outputs={"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(True)}
)


def assert_same(read: FrameReply, sent: FrameReply) -> None:
    assert (read.id, read.status, read.error) == (sent.id, sent.status, sent.error)
    assert list(read.outputs) == list(sent.outputs)
    for name, array in sent.outputs.items():
        assert read.outputs[name].dtype == array.dtype
        assert read.outputs[name].shape == array.shape
        assert read.outputs[name].tobytes() == array.tobytes()  # NaN too


@given(IDS, NAMES, st.binary(), st.none() | st.floats(0, 100))
def test_a_request_is_read_as_it_was_packed(
    id: int, model: str, frame: bytes, timeout_s: float | None
) -> None:
    read = FrameRequest.read(FrameRequest(id, frame, model, timeout_s).pack())
    assert (read.id, read.model, read.frame) == (id, model, frame)
    if timeout_s is None:
        assert read.timeout_s is None
    else:
        # Never shorter than was asked for, up to what 16 bits hold.
        assert read.timeout_s == max(1, min(math.ceil(1e3 * timeout_s), 65535)) / 1e3


def test_a_request_has_the_bytes_that_are_documented() -> None:
    packed = FrameRequest(0x0102030405060708, b"frame", "tail", 1.5).pack()
    assert packed == b"\x01\x04\xdc\x05\x08\x07\x06\x05\x04\x03\x02\x01tailframe"


def test_a_reply_has_the_bytes_that_are_documented() -> None:
    outputs = {"out": np.array([[1, -2]], dtype=">i2")}
    packed = FrameReply(5, 200, outputs, decode_s=1e-6, tail_s=2e-3).pack()
    assert packed == (
        b"\x02\x01\xc8\x00" + (5).to_bytes(8, "little")
        + b"\x01\0\0\0\xd0\x07\0\0"
        + b"\x03\x06\x02\0" + b"\x01\0\0\0\x02\0\0\0" + b"out" + b"\x01\0\xfe\xff"
    )  # fmt: skip
    refusal = FrameReply(5, 503, error="busy", retry_after_s=1.2).pack()
    assert refusal == b"\x02\0\xf7\x01" + (5).to_bytes(8, "little") + b"\x02\0busy"


@given(IDS, st.dictionaries(NAMES, ARRAYS, max_size=4), st.floats(0, 4000), st.floats(0, 4000))
def test_a_reply_is_read_as_it_was_packed(
    id: int, outputs: dict[str, Any], decode_s: float, tail_s: float
) -> None:
    sent = FrameReply(id, 200, outputs, decode_s, tail_s)
    read = FrameReply.read(sent.pack())
    assert_same(read, sent)
    assert read.decode_s == pytest.approx(decode_s, abs=1e-6)
    assert read.tail_s == pytest.approx(tail_s, abs=1e-6)


@given(IDS, st.integers(201, 65535), st.text(), st.none() | st.floats(0, 1e300))
def test_a_refusal_is_read_as_it_was_packed(
    id: int, status: int, error: str, retry_after_s: float | None
) -> None:
    read = FrameReply.read(FrameReply(id, status, error=error, retry_after_s=retry_after_s).pack())
    assert (read.id, read.status, read.error) == (id, status, error)
    if retry_after_s is None:
        assert read.retry_after_s is None
    else:
        assert read.retry_after_s == max(1, math.ceil(min(retry_after_s, 65535)))


@given(st.text())
def test_a_hello_is_read_as_it_was_packed(token: str) -> None:
    assert Hello.read(Hello(token).pack()).token == token


@pytest.mark.parametrize(
    "request_, why",
    [
        (FrameRequest(0, b""), "id is 0: expected 1"),
        (FrameRequest(1 << 64, b""), "id is 18446744073709551616: expected 1"),
        (FrameRequest(1, b"", "x" * 256), "of 256 bytes: expected 255"),
    ],
)
def test_requests_that_do_not_fit_are_not_packed(request_: FrameRequest, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        request_.pack()


@pytest.mark.parametrize(
    "outputs, why",
    [
        ({"out": np.array(["text"])}, "'out' is str"),
        ({"out": np.zeros((1,) * 9)}, "float64 of shape"),
        ({"x" * 256: np.zeros(1)}, "no reply can hold it"),
        ({str(i): np.zeros(1) for i in range(256)}, "256 outputs"),
    ],
)
def test_outputs_that_have_no_form_are_not_packed(outputs: dict[str, Any], why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        FrameReply(1, 200, outputs).pack()


@pytest.mark.parametrize("length", range(len(REPLY.pack())))
def test_a_reply_that_is_cut_is_refused(length: int) -> None:
    with pytest.raises(ProtocolError):
        FrameReply.read(REPLY.pack()[:length])


def test_bytes_behind_a_reply_are_refused() -> None:
    with pytest.raises(ProtocolError, match="1 bytes more"):
        FrameReply.read(REPLY.pack() + b"\0")


@pytest.mark.parametrize(
    "data, why",
    [
        (b"", "0 bytes: expected 12"),
        (REPLY.pack(), "kind 2: expected a request"),
        (b"\x01\x05\0\0" + b"\1" * 8 + b"tail", "name has 5 bytes: 4 are left"),
        (b"\x01\x02\0\0" + b"\1" * 8 + b"\xff\xfe", "no UTF-8"),
        (b"\x01\x00\0\0" + bytes(8), "id 0"),
    ],
)
def test_requests_that_do_not_add_up_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        FrameRequest.read(data)


def reply_with(code: int, *sizes: int, data: bytes = b"") -> bytes:
    head = struct.pack("<BBHQII", 2, 1, 200, 1, 0, 0)
    return head + struct.pack(f"<BBBB{len(sizes)}I", 0, code, len(sizes), 0, *sizes) + data


@pytest.mark.parametrize(
    "data, why",
    [
        (reply_with(12, data=bytes(8)), "datatype 12"),
        (reply_with(1, *[1] * 9, data=b"1"), "rank 9"),
        (reply_with(0, 2, data=b"\x01\x02"), "bytes other than 0 and 1"),
        (reply_with(8, *[2**32 - 1] * 8), "0 are left"),
        (reply_with(8, *[2**32 - 1] * 7, 0), "shape"),
    ],
)
def test_replies_that_do_not_add_up_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        FrameReply.read(data)


@given(
    st.sampled_from([FrameRequest(7, bytes(9), "tail", 1.0).pack(), REPLY.pack(), b"\x03token"]),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4),
    st.integers(0, 80),
)
@example(REPLY.pack(), [(20, 255)], 80)
def test_damage_is_refused_or_read_and_takes_no_memory(
    data: bytes, changes: list[tuple[int, int]], length: int
) -> None:
    damaged = bytearray(data)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    check(bytes(damaged[:length]))


@given(st.binary(max_size=100))
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    check(data)


def check(data: bytes) -> None:
    """Each reader takes the bytes or refuses them, in a few kB."""
    for read in READERS:
        tracemalloc.start()
        try:
            read(data)
        except ProtocolError as error:
            assert len(str(error)) < 500  # of untrusted bytes, for a log
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < 100_000
