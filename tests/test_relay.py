"""The relay: when bytes arrive, by a clock of the tests' own, and that all of them do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Callable

import numpy as np
import pytest

import pysplitcodec
from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan import Channel, Fading, Link, Trace, get_link
from pysplitcodec.serve.relay import Line, Relay

TIMEOUT_S = 60
FAST = Link("fast", bits_per_s=1e9)
RNG = np.random.default_rng(0)


# ------------------------------------------------------------------ pacing, without a clock


def line(link: Link, rates: Trace | Fading | None = None) -> Line:
    return Line(Channel(link, rates))


def test_what_comes_at_once_leaves_at_the_rate() -> None:
    one = line(Link("l", bits_per_s=8_000, latency_s=0.5))
    assert one.take(1.0, 1_000) == pytest.approx((1.95, 2.5))
    assert one.take(1.1, 500) == pytest.approx((2.45, 3.0))
    assert one.take(1.2, 0) == pytest.approx((2.45, 3.0))  # the end comes behind the data
    assert one.take(9.0, 1_000) == pytest.approx((9.95, 10.5))  # an idle line saves nothing up


@pytest.mark.parametrize("late_s", [0.0, 0.004, 0.045])
def test_a_reader_that_wakes_late_costs_the_line_nothing(late_s: float) -> None:
    one, now_s = line(Link("l", bits_per_s=1e6)), 3.0
    for _ in range(1_000):
        more_s, arrives_s = one.take(now_s, 1_460)
        if more_s > now_s:
            now_s = more_s + late_s
    assert arrives_s == pytest.approx(3.0 + 1_000 * 1_460 * 8e-6, rel=1e-9)


def test_chunks_are_packets() -> None:
    link = Link("l", bits_per_s=8_000, packet_payload_bytes=100, packet_overhead_bytes=20)
    one = line(link)
    assert one.take(0.0, 250)[1] == pytest.approx(0.31)
    assert one.take(0.0, 1)[1] == pytest.approx(0.31 + 0.021)
    pausing = line(Link("l", bits_per_s=8_000, packet_payload_bytes=100, packet_interval_s=0.5))
    assert pausing.take(0.0, 200)[1] == pytest.approx(0.1 + 0.5 + 0.1)
    assert pausing.take(0.0, 100)[1] == pytest.approx(0.7 + 0.5 + 0.1)
    assert pausing.take(5.0, 100)[1] == pytest.approx(5.1)


def test_none_overtakes_where_latency_falls() -> None:
    trace = Trace((1.0, 1.0), (8_000.0, 8_000.0), (3.0, 0.0))
    one = line(Link("l", bits_per_s=1.0), trace)
    assert one.take(0.5, 100)[1] == pytest.approx(3.6)
    assert one.take(1.0, 100)[1] == pytest.approx(3.6)
    assert one.take(2.0, 100)[1] == pytest.approx(5.1)


def test_a_trace_and_fading_hold_back() -> None:
    one = line(Link("l", bits_per_s=1.0), Trace((1.0, 2.0), (8_000.0, 0.0)))
    assert one.take(0.5, 1_000)[1] == pytest.approx(3.5)
    fading = Fading(bandwidth_hz=1e5, mean_gain=1e-9, noise_w=1e-10, coherence_s=0.01)
    link = Link("l", bits_per_s=1.0, transmit_power_w=0.1)
    ends = [Line(Channel(link, fading), seed).take(0.0, 10_000)[1] for seed in (1, 1, 2)]
    assert ends[0] == ends[1] != ends[2]


# ------------------------------------------------------------------ over loopback


@contextlib.contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Answers every connection in a thread; gives its port."""
    failed: list[BaseException] = []

    def work(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(TIMEOUT_S)
            try:
                answer(connection)
            except BaseException as error:
                failed.append(error)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT_S)
        threads: list[threading.Thread] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    thread = threading.Thread(target=work, args=(listener.accept()[0],))
                    threads.append(thread)
                    thread.start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join(TIMEOUT_S)
            for thread in threads:
                thread.join(TIMEOUT_S)
    assert not failed


def connect(relay: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), timeout=TIMEOUT_S)


def everything(connection: socket.socket) -> bytes:
    found = bytearray()
    while chunk := connection.recv(65_536):
        found += chunk
    return bytes(found)


def echo(connection: socket.socket) -> None:
    while chunk := connection.recv(65_536):
        connection.sendall(chunk)


def read(connection: socket.socket) -> None:
    with contextlib.suppress(ConnectionError):
        everything(connection)


def send_slowly(connection: socket.socket, data: bytes) -> None:
    for at in range(0, len(data), 777):
        connection.sendall(data[at : at + 777])
    connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("size", [0, 1, 1_460, 1_461, 500_000])
def test_every_byte_comes_back_in_order(size: int) -> None:
    data = RNG.bytes(size)
    with server(echo) as port, Relay("127.0.0.1", port, FAST) as relay, connect(relay) as client:
        sending = threading.Thread(target=send_slowly, args=(client, data))
        sending.start()
        assert everything(client) == data
        sending.join(TIMEOUT_S)


def test_one_direction_ends_before_the_other() -> None:
    def answer(connection: socket.socket) -> None:
        asked = everything(connection)  # until the client has no more to say
        connection.sendall(asked[::-1])

    data = RNG.bytes(40_000)
    with server(answer) as port, Relay("127.0.0.1", port, FAST) as relay, connect(relay) as client:
        send_slowly(client, data)
        assert everything(client) == data[::-1]


def test_connections_share_the_line_and_not_their_bytes() -> None:
    def ask(relay: Relay, number: int) -> bool:
        data = np.random.default_rng(number).bytes(30_000)
        with connect(relay) as client:
            sending = threading.Thread(target=send_slowly, args=(client, data))
            sending.start()
            found = everything(client)
            sending.join(TIMEOUT_S)
        return found == data

    link = Link("l", bits_per_s=50e6, latency_s=0.002)
    with (
        server(echo) as port,
        Relay("127.0.0.1", port, link) as relay,
        ThreadPoolExecutor(8) as pool,
    ):
        assert all(pool.map(ask, [relay] * 16, range(16)))


def test_nothing_is_faster_than_the_link() -> None:
    link = Link("l", bits_per_s=1e6, latency_s=0.03)
    with server(echo) as port, Relay("127.0.0.1", port, link) as relay, connect(relay) as client:
        begin_s = time.monotonic()
        send_slowly(client, bytes(10_000))
        assert len(everything(client)) == 10_000
        took_s = time.monotonic() - begin_s
    # Up and down overlap, but for the first bytes and the last.
    assert took_s > 10_000 * 8e-6 + 2 * 0.03 - 0.001


def seed_of(link: Link, *losses: int) -> int:
    """One by which the packets that are sent up first are lost so often each."""
    roundtrip_s = 2 * link.latency_s

    def fits(seed: int) -> bool:
        up = Line(Channel(link), np.random.SeedSequence(seed).spawn(2)[0])
        for number in losses:
            sent_s = up.take(0.0, 1)[0] + 0.05
            timeouts = (up.alone_s - sent_s - link.latency_s) / (roundtrip_s + 0.2)
            if round(timeouts) != 2**number - 1:
                return False
        return True

    return next(filter(fits, range(1_000)))


def test_bytes_come_in_order_over_a_link_that_loses_and_shakes() -> None:
    link = Link("l", bits_per_s=50e6, latency_s=1e-4, packet_payload_bytes=1_460, loss=0.02)
    data = RNG.bytes(100_000)
    with (
        server(echo) as port,
        Relay("127.0.0.1", port, link, jitter_s=0.002, seed=5) as relay,
        connect(relay) as client,
    ):
        sending = threading.Thread(target=send_slowly, args=(client, data))
        sending.start()
        assert everything(client) == data
        sending.join(TIMEOUT_S)


def test_nothing_is_faster_than_losses_and_jitter_allow() -> None:
    link = Link("l", bits_per_s=1e9, latency_s=0.05, packet_payload_bytes=1_460, loss=0.3)
    seed = seed_of(link, 1)
    lines = [Line(Channel(link), s, jitter_s=0.2) for s in np.random.SeedSequence(seed).spawn(2)]
    for one in lines:
        one.take(0.0, 1)
    assert lines[0].alone_s > 0.05 + 0.1 + 0.2
    with (
        server(echo) as port,
        Relay("127.0.0.1", port, link, jitter_s=0.2, seed=seed) as relay,
        connect(relay) as client,
    ):
        begin_s = time.monotonic()
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        took_s = time.monotonic() - begin_s
    assert took_s > lines[0].alone_s + lines[1].alone_s - 0.001


LOSSY = Link("l", bits_per_s=1e9, latency_s=0.1, packet_payload_bytes=1_460, loss=0.3)


def order_of(losses: tuple[int, ...], sends: list[tuple[int, bytes, float]]) -> list[bytes]:
    """In which bytes reach the server that connections, by number, send at times."""
    came: list[bytes] = []

    def note(connection: socket.socket) -> None:
        while chunk := connection.recv(1):
            came.append(chunk)

    with (
        server(note) as port,
        Relay("127.0.0.1", port, LOSSY, seed=seed_of(LOSSY, *losses)) as relay,
        connect(relay) as one,
        connect(relay) as other,
    ):
        begin_s = time.monotonic()
        for number, data, at_s in sends:
            time.sleep(max(0.0, begin_s + at_s - time.monotonic()))
            (one, other)[number].sendall(data)
        for client in (one, other):
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
    return came


def test_a_loss_holds_up_its_own_connection_alone() -> None:
    # a is due 0.1 + 0.2 + 0.4 s after it is sent, b with it, and c 0.1 s.
    sends = [(0, b"a", 0.0), (0, b"b", 0.1), (1, b"c", 0.2)]
    assert order_of((2, 0, 0), sends) == [b"c", b"a", b"b"]


def test_what_is_sent_behind_a_loss_spares_it_a_timeout() -> None:
    # a is due after 0.1 + 0.2 + 0.4 s, c at 0.5 + 0.1 + 0.4 s; a alone were due after 1.3 s.
    sends = [(0, b"a", 0.0), (0, b"b", 0.1), (1, b"c", 0.5)]
    assert order_of((2, 0, 1), sends) == [b"a", b"b", b"c"]


def test_a_cut_closes_all_and_refuses_until_it_is_restored() -> None:
    def echo_or_leave(connection: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            echo(connection)

    with server(echo_or_leave) as port, Relay("127.0.0.1", port, FAST) as relay:
        at = relay.port
        for _ in range(3):
            relay.restore()  # nothing to do
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(connect(relay)) for _ in range(5)]
                for client in clients:
                    client.sendall(b"x")
                    assert client.recv(1) == b"x"
                relay.cut()
                relay.cut()
                for client in clients:
                    with contextlib.suppress(ConnectionResetError):
                        assert client.recv(1) == b""
                for _ in range(3):
                    with pytest.raises(ConnectionRefusedError):
                        connect(relay)
            relay.restore()
            assert relay.port == at
        with connect(relay) as client:
            client.sendall(b"y")
            assert client.recv(1) == b"y"


def test_a_cut_loses_what_is_on_its_way() -> None:
    came: list[bytes] = []
    with (
        server(lambda connection: came.append(everything(connection))) as port,
        Relay("127.0.0.1", port, Link("far", 1e9, latency_s=TIMEOUT_S)) as relay,
        connect(relay) as client,
    ):
        client.sendall(b"lost")
        time.sleep(0.1)
        relay.cut()
    assert came == [b""]


def test_cutting_what_does_not_run() -> None:
    relay = Relay("127.0.0.1", 80, FAST)
    for _ in range(2):
        for change in (relay.cut, relay.restore):
            with pytest.raises(ArgumentError, match="relay is not running"):
                change()
        with relay:  # and once more after it
            pass


def accepted(client: socket.socket) -> int:
    """Bytes that are taken before the sender has to wait."""
    client.settimeout(0.5)
    total = 0
    with contextlib.suppress(TimeoutError, socket.timeout):
        while total < 64 << 20:
            total += client.send(bytes(65_536))
    return total


def test_the_sender_is_held_back() -> None:
    with (
        server(read) as port,
        Relay("127.0.0.1", port, Link("slow", bits_per_s=80)) as relay,
        connect(relay) as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32_768)
        assert accepted(client) < 500_000


def test_a_receiver_that_does_not_read_holds_the_sender_back() -> None:
    done = threading.Event()
    with (
        server(lambda _: done.wait(TIMEOUT_S) and None) as port,
        Relay("127.0.0.1", port, FAST) as relay,
        connect(relay) as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32_768)
        assert accepted(client) < 16 << 20
        done.set()


def test_nobody_there(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Relay("127.0.0.1", port, FAST) as relay:
        for _ in range(2):  # the relay goes on
            with connect(relay) as client, contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
    assert f"relay to 127.0.0.1, port {port}: " in caplog.text


def test_a_server_that_breaks_off_and_a_client_that_does() -> None:
    def reset(connection: socket.socket) -> None:
        linger_none = np.array([1, 0], np.int32).tobytes()
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_none)

    def echo_or_leave(connection: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            echo(connection)

    with (
        server(reset) as port,
        Relay("127.0.0.1", port, FAST) as relay,
        connect(relay) as client,
        contextlib.suppress(ConnectionResetError),
    ):
        client.sendall(b"x")
        assert client.recv(1) == b""
    with server(echo_or_leave) as port, Relay("127.0.0.1", port, FAST) as relay:
        with connect(relay) as client:
            client.sendall(bytes(100_000))
        with connect(relay) as client:  # the relay goes on
            client.sendall(b"x")
            assert client.recv(1) == b"x"


def test_leaving_closes_connections(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    before = threading.active_count()
    with server(read) as port:
        with Relay("127.0.0.1", port, Link("slow", bits_per_s=8_000)) as relay:
            client = connect(relay)
            client.sendall(bytes(100_000))
        with client, contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(relay)
    assert threading.active_count() == before
    assert "Traceback" not in caplog.text + capfd.readouterr().err


def test_wrong_ports() -> None:
    for port in (0, 70_000, -1):
        with pytest.raises(ArgumentError, match=f"port is {port}: expected 1 to 65535"):
            Relay("127.0.0.1", port, FAST)


def test_jitter_that_is_none() -> None:
    with pytest.raises(ArgumentError, match="relay: jitter_s is -1: expected a number of at least"):
        Relay("127.0.0.1", 80, FAST, jitter_s=-1)


def test_a_tail_server_behind_it() -> None:
    """The answers are the same, and bytes take the time that the link says, at least."""
    for package in ("httpx", "starlette", "uvicorn", "ai_edge_litert", "PIL"):
        pytest.importorskip(package, reason='needs "pysplitcodec[serve,tflite]"')
    from pysplitcodec.demo import load_digits, tail_server
    from pysplitcodec.runtime import open_model
    from pysplitcodec.serve import EdgeClient, HttpTransport

    digits = load_digits()
    head, tail_model = open_model(digits.head), open_model(digits.tail)
    features = np.concatenate([head(image)[0] for image in digits.calibration[:50]])
    book = pysplitcodec.Codebook.fit(features, 2)
    codec = pysplitcodec.Codec(book, "pack", shape=features.shape[1:])
    link = get_link("zigbee")
    with tail_server(digits.tail, [codec]) as url:
        port = int(url.rpartition(":")[2])
        with Relay("127.0.0.1", port, link) as relay:
            transport = HttpTransport(f"http://127.0.0.1:{relay.port}", timeout_s=TIMEOUT_S)
            edge = EdgeClient(head, codec, transport, timeout_s=TIMEOUT_S)
            for image in digits.images[:5]:
                reply = edge.run(image)
                (wanted,) = tail_model(codec.decode(codec.encode(head(image)[0][0]))[None])
                assert next(iter(reply.outputs.values())).tobytes() == wanted.tobytes()
                answer_bytes = sum(output.nbytes for output in reply.outputs.values())
                sent_s = link.airtime_s(reply.frame_len)
                assert reply.roundtrip_s > sent_s + link.airtime_s(answer_bytes)
            edge.close()
