"""Frames over a serial line, a pseudo terminal here, which loses and damages bytes."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysplitcodec.errors import ArgumentError, ServerError

NEEDS = 'needs "pysplitcodec[serve,serial]"'
pytest.importorskip("prometheus_client", reason=NEEDS)
pytest.importorskip("cobs", reason=NEEDS)
pytest.importorskip("serial", reason=NEEDS)
if sys.platform == "win32":
    pytest.skip("needs pseudo terminals", allow_module_level=True)

from link_ends import TIMEOUT_S, Gate, Inbox, frame_of, running, service_of, until  # noqa: E402
from wire import Wire, wire  # noqa: E402

from pysplitcodec.serial_packets import Packets, packet  # noqa: E402
from pysplitcodec.serve import Sender, Service  # noqa: E402
from pysplitcodec.serve.messages import FrameRequest  # noqa: E402
from pysplitcodec.serve.serial_link import SerialTransport  # noqa: E402
from pysplitcodec.serve.serial_server import serve_serial  # noqa: E402


@contextlib.contextmanager
def serving(service: Service, port: str) -> Iterator[None]:
    with running(lambda: serve_serial(service, port)):
        yield


@contextlib.contextmanager
def opened(port: str) -> Iterator[tuple[SerialTransport, Inbox]]:
    transport, inbox = SerialTransport(port, timeout_s=TIMEOUT_S), Inbox()
    transport.open(*inbox.callbacks)
    try:
        yield transport, inbox
    finally:
        transport.close()


@contextlib.contextmanager
def connected(service: Service, **shares: float) -> Iterator[tuple[SerialTransport, Inbox, Wire]]:
    with (
        wire(**shares) as made,
        serving(service, made.ports[0]),
        opened(made.ports[1]) as (transport, inbox),
    ):
        yield transport, inbox, made


def test_a_frame_is_answered() -> None:
    with connected(service_of()) as (transport, inbox, _):
        transport.send(FrameRequest(9, frame_of(0.5, 2)))
        reply = inbox.reply()
        assert (reply.id, reply.status) == (9, 200)
        np.testing.assert_array_equal(reply.outputs["out"], np.float32([[2.5]]))


def test_replies_come_in_the_order_in_which_they_are_done() -> None:
    slow, fast = Gate(is_open=False), Gate()
    with connected(service_of(slow, fast)) as (transport, inbox, _):
        transport.send(FrameRequest(1, frame_of(2, 2), "tail0"))
        transport.send(FrameRequest(2, frame_of(2, 0), "tail1"))
        assert inbox.reply().id == 2
        slow.open.set()
        assert inbox.reply().id == 1


def test_requests_that_will_not_do_are_refused_alone() -> None:
    with connected(service_of(max_body=100)) as (transport, inbox, _):
        for request, status in (
            (FrameRequest(1, frame_of(2, 2), "nobody"), 404),
            (FrameRequest(2, b"no frame"), 400),
            (FrameRequest(3, frame_of(2, 2)), 200),
        ):
            transport.send(request)
            reply = inbox.reply()
            assert (reply.id, reply.status) == (request.id, status)


def test_what_is_too_long_is_passed_over() -> None:
    with connected(service_of(max_body=100)) as (transport, inbox, _):
        transport.send(FrameRequest(1, bytes(5000)))
        transport.send(FrameRequest(2, frame_of(2, 2)))
        assert inbox.reply().id == 2
    assert inbox.empty


def test_whatever_is_lost_or_damaged_is_answered_once() -> None:
    gate = Gate()
    with (
        wire(lost=0.002, flipped=0.002) as made,
        serving(service_of(gate), made.ports[0]),
        Sender(SerialTransport(made.ports[1]), timeout_s=TIMEOUT_S, resend_s=0.1) as sender,
    ):
        values = [(number % 2 / 2, 2 * (number % 3 > 0)) for number in range(60)]
        answers = [sender.submit(frame_of(*one)) for one in values]
        found = [answer.result().reply.outputs["out"].item() for answer in answers]
        assert found == [sum(one) for one in values]
        assert sender.stats.resent > 0
    assert made.broken > 0
    assert gate.runs == sum(any(one) for one in values)  # none ran again


def test_what_is_under_way_is_answered_before_the_server_leaves() -> None:
    gate = Gate(is_open=False)
    service = service_of(gate)
    with wire() as made, opened(made.ports[1]) as (transport, inbox):
        with serving(service, made.ports[0]):
            transport.send(FrameRequest(1, frame_of(2, 2)))
            until(lambda: b'requests{model="tail0"} 1.0' in service.metrics.text())
            threading.Timer(0.1, gate.open.set).start()
        assert inbox.reply().status == 200


def test_more_than_one_client_may_have_is_not_read() -> None:
    gate = Gate(is_open=False)
    service = service_of(gate, max_waiting_of_one=2)
    with connected(service) as (transport, inbox, _):
        for id in range(1, 9):
            transport.send(FrameRequest(id, frame_of(2, 2)))
        until(lambda: b'requests{model="tail0"} 2.0' in service.metrics.text())
        gate.open.set()
        replies = [inbox.reply() for _ in range(8)]
    assert {reply.status for reply in replies} == {200}


def test_a_plug_that_is_pulled_and_put_in_again(tmp_path: Path) -> None:
    port = tmp_path / "port"
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(wire())
        port.symlink_to(first.ports[0])
        stack.enter_context(serving(service_of(), str(port)))
        transport, inbox = stack.enter_context(opened(first.ports[1]))
        transport.send(FrameRequest(1, frame_of(2, 2)))
        assert inbox.reply().status == 200
        first.pull()
        assert f"lost serial port {first.ports[1]}" in str(inbox.loss())
        with pytest.raises(ServerError, match="lost serial port"):
            transport.send(FrameRequest(2, frame_of(2, 2)))
        second = stack.enter_context(wire())
        port.unlink()
        port.symlink_to(second.ports[0])
        again, its = stack.enter_context(opened(second.ports[1]))
        while True:  # until the server has found it
            again.send(FrameRequest(3, frame_of(2, 2)))
            with contextlib.suppress(queue.Empty):
                assert its.reply(0.2).status == 200
                break
    assert inbox.empty


def test_ports_that_are_not_there() -> None:
    with pytest.raises(ServerError, match="cannot open serial port /dev/no-such-port"):
        SerialTransport("/dev/no-such-port").open(*Inbox().callbacks)
    with pytest.raises(ArgumentError, match="port is 'nothing://'"):
        SerialTransport("nothing://")
    with pytest.raises(OSError, match="no-such-port"), serving(service_of(), "/dev/no-such-port"):
        pass
    with pytest.raises(ServerError, match="is closed"):
        SerialTransport("/dev/no-such-port").send(FrameRequest(1, b""))
    with pytest.raises(ArgumentError, match="timeout_s is 0"):
        SerialTransport("/dev/no-such-port", timeout_s=0)


CONTENTS = st.lists(st.binary(min_size=1, max_size=600), max_size=5)


@given(CONTENTS, st.integers(1, 700))
def test_packets_are_found_however_they_come(contents: list[bytes], step: int) -> None:
    whole = b"".join(packet(content) for content in contents)
    packets, found = Packets(600), []
    for at in range(0, len(whole), step):
        found += packets.feed(whole[at : at + step])
    assert found == contents


@given(CONTENTS, st.integers(0, 5000), st.integers(0, 255))
def test_a_damaged_byte_costs_no_more_than_its_packets(
    contents: list[bytes], at: int, value: int
) -> None:
    whole = bytearray(b"".join(packet(content) for content in contents))
    if whole:
        whole[at % len(whole)] = value
    found = list(Packets(600).feed(bytes(whole)))
    assert all(content in contents for content in found)
    assert len(found) >= len(contents) - 2  # a zero between two packets belongs to both


@given(st.binary(max_size=2000), st.integers(1, 100))
def test_bytes_that_are_no_packets_are_passed_over_and_not_held(data: bytes, step: int) -> None:
    packets = Packets(50)
    for at in range(0, len(data), step):
        assert list(packets.feed(data[at : at + step])) == []
    assert list(packets.feed(packet(b"sound"))) == [b"sound"]


def test_a_packet_of_the_longest_content_is_found() -> None:
    for length in (1, 253, 254, 255, 508, 600):
        content = os.urandom(length).replace(b"\0", b"\1")
        assert list(Packets(length).feed(packet(content))) == [content]
        assert list(Packets(length).feed(packet(content + bytes(range(1, 20))))) == []
