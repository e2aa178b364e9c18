"""Frames over TCP: many under way at once, and what a hostile or clumsy client gets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pysplitcodec import Codebook, encode
from pysplitcodec.errors import ArgumentError, ServerError

NEEDS = 'needs "pysplitcodec[serve]"'
pytest.importorskip("prometheus_client", reason=NEEDS)

from link_ends import TIMEOUT_S, Gate, Inbox, frame_of, running, service_of, until  # noqa: E402

from pysplitcodec.serve import Sender, Service  # noqa: E402
from pysplitcodec.serve.messages import FrameReply, FrameRequest, Hello  # noqa: E402
from pysplitcodec.serve.stream_link import StreamTransport  # noqa: E402
from pysplitcodec.serve.stream_server import serve_stream  # noqa: E402
from pysplitcodec.serve.tokens import Tokens, add_token  # noqa: E402

# A frame of some hundred bytes that says it holds 16 MB.
BOMB = encode(np.zeros((1000, 4000), np.float32), Codebook([0, 1]), "range")


@contextlib.contextmanager
def listening(
    service: Service,
    tls: ssl.SSLContext | None = None,
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    port: int = 0,
) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", port))
    port = listener.getsockname()[1]
    with running(lambda: serve_stream(service, listener, tls), new_loop):
        yield port


@contextlib.contextmanager
def opened(port: int, **options: Any) -> Iterator[tuple[StreamTransport, Inbox]]:
    transport, inbox = StreamTransport("127.0.0.1", port, timeout_s=TIMEOUT_S, **options), Inbox()
    transport.open(*inbox.callbacks)
    try:
        yield transport, inbox
    finally:
        transport.close()


class Raw:
    """A client that sends what it likes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._file = self.socket.makefile("rb")

    def send(self, message: bytes, length: int | None = None) -> None:
        size = len(message) if length is None else length
        self.socket.sendall(struct.pack("<I", size) + message)

    def reply(self) -> FrameReply | None:
        """The next reply; None at the end."""
        head = self._file.read(4)
        if not head:
            return None
        (length,) = struct.unpack("<I", head)
        return FrameReply.read(self._file.read(length))

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()


def uvloop_loop() -> asyncio.AbstractEventLoop:
    return pytest.importorskip("uvloop", reason="needs uvloop").new_event_loop()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop_loop])
def test_a_frame_is_answered(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with listening(service_of(), new_loop=new_loop) as port, opened(port) as (transport, inbox):
        transport.send(FrameRequest(9, frame_of(0.5, 2)))
        reply = inbox.reply()
        assert (reply.id, reply.status) == (9, 200)
        np.testing.assert_array_equal(reply.outputs["out"], np.float32([[2.5]]))
        assert reply.decode_s > 0 and reply.tail_s > 0


def test_frames_of_every_size_arrive_whole() -> None:
    service = service_of(max_body=3 << 20)
    with listening(service) as port, opened(port) as (transport, inbox):
        for id, size in enumerate((0, 1, 65_523, 65_536, 3_000_000), 1):
            transport.send(FrameRequest(id, bytes(size)))
            assert inbox.reply().error.startswith("frame 0 of 1: ")


def test_replies_come_in_the_order_in_which_they_are_done() -> None:
    slow, fast = Gate(is_open=False), Gate()
    with listening(service_of(slow, fast)) as port, opened(port) as (transport, inbox):
        transport.send(FrameRequest(1, frame_of(2, 2), "tail0"))
        transport.send(FrameRequest(2, frame_of(2, 0), "tail1"))
        transport.send(FrameRequest(3, frame_of(0, 2), "tail1"))
        assert {inbox.reply().id, inbox.reply().id} == {2, 3}
        slow.open.set()
        assert inbox.reply().id == 1


def test_what_is_sent_again_on_another_connection_is_not_run_again() -> None:
    gate = Gate(is_open=False)
    with listening(service_of(gate)) as port:
        transport, inbox = StreamTransport("127.0.0.1", port), Inbox()
        transport.open(*inbox.callbacks)
        transport.send(FrameRequest(5, frame_of(2, 2)))
        transport.open(*inbox.callbacks)
        transport.send(FrameRequest(5, frame_of(2, 2)))
        gate.open.set()
        assert inbox.reply().outputs["out"] == 4
        transport.send(FrameRequest(5, frame_of(2, 2)))
        assert inbox.reply().outputs["out"] == 4
        transport.close()
    assert gate.runs == 1
    assert inbox.empty


@pytest.mark.parametrize(
    "request_, status, why",
    [
        (FrameRequest(1, frame_of(2, 2), "nobody"), 404, "no model 'nobody'"),
        (FrameRequest(1, b"no frame"), 400, "frame 0 of 1"),
        (FrameRequest(1, frame_of(2, 2)[:-1]), 400, "frame 0 of 1"),
        (FrameRequest(1, BOMB), 400, "(1000, 4000)"),
    ],
    ids=["model", "no-frame", "cut", "bomb"],
)
def test_requests_that_will_not_do_are_refused_alone(
    request_: FrameRequest, status: int, why: str
) -> None:
    with listening(service_of()) as port, opened(port) as (transport, inbox):
        transport.send(request_)
        reply = inbox.reply()
        assert (reply.id, reply.status) == (1, status)
        assert why in reply.error
        transport.send(FrameRequest(2, frame_of(2, 2)))
        assert inbox.reply().status == 200


def test_what_is_no_request_is_refused_under_id_0() -> None:
    with listening(service_of()) as port, Raw(port) as raw:
        for message in (b"", b"\x01", b"\x02" + bytes(20), b"\x07" * 50):
            raw.send(message)
            reply = raw.reply()
            assert reply is not None
            assert (reply.id, reply.status) == (0, 400)
        raw.send(FrameRequest(3, frame_of(2, 2)).pack())
        reply = raw.reply()
        assert reply is not None and reply.status == 200


@pytest.mark.parametrize("length", [(1 << 16) + 1, 0xFFFFFFFF])
def test_a_packet_that_is_too_long_ends_the_connection(length: int) -> None:
    gate = Gate(is_open=False)
    with listening(service_of(gate, max_body=1 << 16)) as port, Raw(port) as raw:
        raw.send(FrameRequest(1, frame_of(2, 2)).pack())
        raw.send(b"never as much", length)
        gate.open.set()
        first, second = raw.reply(), raw.reply()
        assert first is not None and first.id == 1  # what it had is still answered
        assert second is not None and (second.id, second.status) == (0, 413)
        assert f"{length} bytes: the limit is 65536" in second.error
        assert raw.reply() is None


def test_a_packet_that_does_not_come_in_time_ends_the_connection() -> None:
    with listening(service_of(body_s=0.2)) as port, Raw(port) as raw, Raw(port) as idle:
        for part in (b"\x20", b"\0\0\0", b"half"):
            raw.socket.sendall(part)
        reply = raw.reply()
        assert reply is not None and (reply.id, reply.status) == (0, 408)
        assert raw.reply() is None
        # Nothing was begun there all the time.
        idle.send(FrameRequest(1, frame_of(2, 2)).pack())
        reply = idle.reply()
        assert reply is not None and reply.status == 200


@pytest.mark.parametrize("part", [b"\x05", b"\x05\0\0\0", b"\x05\0\0\0abcd"])
def test_a_client_that_leaves_within_a_packet_disturbs_nobody(part: bytes) -> None:
    service = service_of()
    with listening(service) as port:
        with Raw(port) as raw:
            raw.socket.sendall(part)
        with opened(port) as (transport, inbox):
            transport.send(FrameRequest(1, frame_of(2, 2)))
            assert inbox.reply().status == 200
    assert b'status="4' not in service.metrics.text()


def test_more_than_one_client_may_have_is_not_read() -> None:
    gate = Gate(is_open=False)
    service = service_of(gate, max_waiting_of_one=2)

    def waiting() -> bool:
        return b'splitcodec_waiting_requests{model="tail0"} 2.0' in service.metrics.text()

    with listening(service) as port, opened(port) as (transport, inbox):
        for id in range(1, 9):
            transport.send(FrameRequest(id, frame_of(2, 2)))
        until(waiting)
        gate.open.set()
        replies = [inbox.reply() for _ in range(8)]
    assert {reply.id for reply in replies} == set(range(1, 9))
    assert {reply.status for reply in replies} == {200}  # none of them is told to come later


def test_where_there_is_no_room_the_connection_ends() -> None:
    service = service_of(max_bodies=1000)
    with listening(service) as port, Raw(port) as big, Raw(port) as raw:
        big.send(b"half of it", 900)
        raw.send(bytes(10), 900)
        reply = raw.reply()
        assert reply is not None
        assert (reply.id, reply.status, reply.retry_after_s) == (0, 503, 1)
        assert raw.reply() is None


def test_a_client_that_does_not_read_is_left() -> None:
    """Replies of 4 MB fill the kernel's buffers and then the server's, for at most body_s."""
    big = np.zeros((1, 1 << 20), np.float32)
    service = service_of(lambda x: [big[: len(x)]], body_s=0.2, max_waiting_of_one=4)
    message = FrameRequest(1, frame_of(2, 2)).pack()
    left = pytest.raises((ConnectionResetError, BrokenPipeError))
    with listening(service) as port, Raw(port) as raw, left:
        for _ in range(1_000_000):
            raw.send(message)


def test_what_is_under_way_is_answered_before_the_server_leaves() -> None:
    gate = Gate(is_open=False)
    service = service_of(gate)
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(listening(service))
        transport, inbox = StreamTransport("127.0.0.1", port), Inbox()
        transport.open(*inbox.callbacks)
        transport.send(FrameRequest(1, frame_of(2, 2)))
        until(lambda: b'requests{model="tail0"} 1.0' in service.metrics.text())
        # The statement below waits for the answer, which waits for this.
        threading.Timer(0.1, gate.open.set).start()
    assert inbox.reply().status == 200
    assert "the server closed it" in str(inbox.loss())
    with pytest.raises(ServerError, match="cannot connect"):
        transport.open(*inbox.callbacks)


def token_file(folder: Path, *names: str) -> tuple[Path, list[str]]:
    path = folder / "tokens.toml"
    return path, [add_token(path, name) for name in names]


def test_who_has_a_token_is_answered(tmp_path: Path) -> None:
    path, (token,) = token_file(tmp_path, "kitchen")
    service = service_of(tokens=Tokens.load(path))
    with listening(service) as port, opened(port, token=token) as (transport, inbox):
        transport.send(FrameRequest(1, frame_of(2, 2)))
        assert inbox.reply().status == 200
        path.unlink()
        service.tokens = Tokens.load(token_file(tmp_path, "other")[0])  # as SIGHUP does
        transport.send(FrameRequest(2, frame_of(2, 2)))
        assert inbox.loss().status == 401


def test_a_wrong_token_does_not_open(tmp_path: Path) -> None:
    path, _ = token_file(tmp_path, "kitchen")
    with listening(service_of(tokens=Tokens.load(path))) as port:
        transport = StreamTransport("127.0.0.1", port, token="wrong")
        with pytest.raises(ServerError, match="the token is not known") as refused:
            transport.open(*Inbox().callbacks)
    assert refused.value.status == 401


def test_who_has_no_token_is_told_at_once(tmp_path: Path) -> None:
    path, _ = token_file(tmp_path, "kitchen")
    with (
        listening(service_of(tokens=Tokens.load(path))) as port,
        Sender(StreamTransport("127.0.0.1", port), timeout_s=4 * TIMEOUT_S) as sender,
        pytest.raises(ServerError, match="401: a bearer token is needed"),
    ):
        sender.submit(b"").result(TIMEOUT_S)


def test_a_token_that_nobody_needs_does_no_harm() -> None:
    with listening(service_of()) as port, opened(port, token="any") as (transport, inbox):
        transport.send(FrameRequest(1, frame_of(2, 2)))
        assert inbox.reply().status == 200


@pytest.mark.parametrize(
    "message, length, status",
    [
        (FrameRequest(1, frame_of(2, 2)).pack(), None, 401),
        (b"much", 1 << 20, 401),  # before it is read
        (Hello("x" * 4000).pack(), None, 401),
        (Hello("").pack(), None, 401),
        (b"\x03\xff\xfe", None, 400),
    ],
    ids=["request", "long", "token", "empty", "no-text"],
)
def test_without_a_hello_nothing_is_answered(
    tmp_path: Path, message: bytes, length: int | None, status: int
) -> None:
    gate = Gate()
    service = service_of(gate, tokens=Tokens.load(token_file(tmp_path, "kitchen")[0]))
    with listening(service) as port, Raw(port) as raw:
        raw.send(message, length)
        reply = raw.reply()
        assert reply is not None and (reply.id, reply.status) == (0, status)
        assert raw.reply() is None
    assert gate.runs == 0


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop_loop])
def test_over_tls(tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    trustme = pytest.importorskip("trustme", reason="certificates need trustme")
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with listening(service_of(), tls, new_loop) as port:
        with opened(port, tls=tmp_path / "ca.pem") as (transport, inbox):
            transport.send(FrameRequest(1, frame_of(2, 2)))
            assert inbox.reply().status == 200
        with pytest.raises(ServerError, match="certificate verify failed"):
            StreamTransport("127.0.0.1", port, tls=ssl.create_default_context()).open(
                *Inbox().callbacks
            )
        with pytest.raises(ServerError):
            StreamTransport("127.0.0.1", port, token="plain").open(*Inbox().callbacks)


def test_a_server_that_comes_back_is_found_again() -> None:
    inbox = Inbox()
    with listening(service_of(drain_s=0)) as port:
        transport = StreamTransport("127.0.0.1", port)
        transport.open(*inbox.callbacks)
        transport.send(FrameRequest(1, frame_of(2, 2)))
        assert inbox.reply().status == 200
    assert "the server closed it" in str(inbox.loss())
    with pytest.raises(ServerError, match="closed it"):
        transport.send(FrameRequest(1, frame_of(2, 2)))
    with pytest.raises(ServerError, match=f"cannot connect to 127.0.0.1, port {port}"):
        transport.open(*inbox.callbacks)
    with pytest.raises(ServerError, match="is closed"):
        transport.send(FrameRequest(1, frame_of(2, 2)))
    with listening(service_of(), port=port):
        transport.open(*inbox.callbacks)
        transport.send(FrameRequest(1, frame_of(2, 2)))
        assert inbox.reply().status == 200
        transport.close()
    assert inbox.empty


@contextlib.contextmanager
def saying(answer: bytes) -> Iterator[int]:
    """A server that says the same to everybody, and no more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                made, _ = listener.accept()
                with made:
                    made.sendall(answer)
                    while made.recv(4096):
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    "answer, why",
    [
        (struct.pack("<I", 64 << 20 | 1), "67108865 bytes: expected 67108864"),
        (struct.pack("<I", 3) + b"abc", "3 bytes: expected 12"),
        (struct.pack("<I", 12) + bytes(12), "kind 0"),
    ],
)
def test_a_server_that_talks_nonsense_is_left(answer: bytes, why: str) -> None:
    with saying(answer) as port, opened(port) as (transport, inbox):
        assert why in str(inbox.loss())
        with pytest.raises(ServerError, match=why):
            transport.send(FrameRequest(1, b""))


def test_a_server_that_says_nothing_to_a_hello_is_not_waited_for() -> None:
    with saying(b"") as port:
        transport = StreamTransport("127.0.0.1", port, timeout_s=0.2, token="any")
        with pytest.raises(ServerError, match=r"did not answer within 0.2 s"):
            transport.open(*Inbox().callbacks)


def test_the_transport_may_be_closed_from_a_callback() -> None:
    with listening(service_of()) as port:
        transport, done, inbox = StreamTransport("127.0.0.1", port), threading.Event(), Inbox()

        def replied(_: FrameReply) -> None:
            transport.close()
            done.set()

        transport.open(replied, inbox.callbacks[1])
        transport.send(FrameRequest(1, frame_of(2, 2)))
        assert done.wait(TIMEOUT_S)
        transport.open(*inbox.callbacks)
        transport.send(FrameRequest(2, frame_of(2, 2)))
        assert inbox.reply().id == 2
        transport.close()
    assert inbox.empty


@pytest.mark.parametrize(
    "options, why",
    [({"port": 0}, "port is 0"), ({"port": 65536}, "65536"), ({"timeout_s": 0}, "timeout_s is 0")],
)
def test_arguments_that_will_not_do(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ArgumentError, match=why):
        StreamTransport("127.0.0.1", **{"port": 1, **options})
