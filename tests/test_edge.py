"""The edge's side: what is sent again, what falls back, and that nothing is lost or comes twice."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pysplitcodec import Codebook, Codec
from pysplitcodec.errors import (
    ArgumentError,
    FeatureError,
    ModelError,
    ProtocolError,
    ServerError,
)

NEEDS = 'needs "pysplitcodec[serve]"'
for name in ("httpx", "starlette", "uvicorn", "prometheus_client"):
    pytest.importorskip(name, reason=NEEDS)

from digits_bundle import write_digits_bundle  # noqa: E402
from fake_model import FakeModel  # noqa: E402
from server_process import serving  # noqa: E402

from pysplitcodec.demo import load_digits  # noqa: E402
from pysplitcodec.serve import (  # noqa: E402
    EdgeClient,
    HttpTransport,
    MemoryTransport,
    Sender,
    ServerLimits,
    Service,
    Tail,
)
from pysplitcodec.serve.messages import FrameReply, FrameRequest  # noqa: E402

CODEC = Codec(Codebook(np.arange(16)), "pack", shape=(2,))
WAIT_S = 30.0
Replied = Callable[[FrameReply], None]
Lost = Callable[[ServerError], None]


def doubling(runs: list[float] | None = None, **limits: Any) -> Service:
    """A service that doubles, and notes what it ran."""

    def run(array: np.ndarray) -> list[np.ndarray]:
        if runs is not None:
            runs.append(float(array[0, 0]))
        return [array * 2]

    bounds = ServerLimits(**limits)
    return Service([Tail(FakeModel(run), [CODEC], limits=bounds)], limits=bounds)


def head_that(run: Callable[[np.ndarray], list[np.ndarray]]) -> FakeModel:
    """A head that says that it gives what the codec takes."""
    model = FakeModel(run)
    model.outputs = model.inputs
    return model


HEAD = head_that(lambda x: [x + 1])
WHOLE = FakeModel(lambda x: [x * 100], outputs=("whole",))


def sample(value: float) -> np.ndarray:
    return np.full((1, 2), value, np.float32)


def value_of(reply: Any) -> float:
    (output,) = reply.outputs.values()
    return float(output[0, 0])


class Scripted:
    """A transport whose every step a test decides."""

    max_len: int | None = None
    lossy = False

    def __init__(self, *openings: ServerError | None) -> None:
        self.openings = iter([*openings, *itertools.repeat(None, 1000)])
        self.opened = 0
        self.sent: list[FrameRequest] = []
        self.answer: Callable[[FrameRequest], FrameReply | None] = lambda request: FrameReply(
            request.id, outputs={"out": sample(len(request.frame))}
        )
        self.broken = False

    def open(self, replied: Replied, lost: Lost) -> None:
        error = next(self.openings)
        if error is not None:
            raise error
        self.opened += 1
        self.replied, self.lost = replied, lost

    def send(self, request: FrameRequest) -> None:
        if self.broken:
            raise ServerError("broken")
        self.sent.append(request)
        reply = self.answer(request)
        if reply is not None:
            self.replied(reply)

    def close(self) -> None:
        pass


# ---------------------------------------------------------------- sending


def test_one_answer_for_each_request() -> None:
    link = Scripted()
    with Sender(link, "m") as sender:
        futures = [sender.submit(bytes(n)) for n in range(50)]
        assert [value_of(future.result().reply) for future in futures] == list(range(50))
        assert sender.stats.answered == 50 and not sender.stats.resent
    ids = [request.id for request in link.sent]
    assert len(set(ids)) == 50 and all(request.model == "m" for request in link.sent)
    with Sender(Scripted()) as other:
        link2 = other._transport
        other.submit(b"").result()
    assert link2.sent[0].id not in ids  # type: ignore[attr-defined]


def test_replies_may_come_in_any_order_and_twice() -> None:
    link = Scripted()
    link.answer = lambda _: None
    with Sender(link) as sender:
        futures = [sender.submit(bytes(n)) for n in range(5)]
        until(lambda: len(link.sent) == 5)
        for request in reversed(link.sent):
            reply = FrameReply(request.id, outputs={"out": sample(len(request.frame))})
            link.replied(reply)
            link.replied(reply)
        assert [value_of(future.result().reply) for future in futures] == list(range(5))
        assert sender.stats.repeated == 5 and sender.stats.answered == 5


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_lost_connection_is_opened_again_and_all_is_sent_again() -> None:
    link = Scripted(None, ServerError("not yet"), ServerError("not yet"))
    link.answer = lambda _: None
    with Sender(link, timeout_s=WAIT_S) as sender:
        futures = [sender.submit(bytes(n)) for n in range(3)]
        until(lambda: len(link.sent) == 3)
        first = list(link.sent)
        link.answer = Scripted().answer
        link.lost(ServerError("cable out"))
        assert [value_of(future.result().reply) for future in futures] == [0, 1, 2]
        assert link.sent[3:] == first  # the same ids
        assert link.opened == 2 and sender.stats.connected == 2 and sender.stats.resent == 3


@pytest.mark.parametrize("status, stays", [(401, True), (403, True), (408, False), (413, False)])
def test_a_connection_that_is_refused_later(status: int, stays: bool) -> None:
    link = Scripted()
    right = link.answer
    link.answer = lambda _: None
    with Sender(link, timeout_s=WAIT_S) as sender:
        future = sender.submit(b"abc")
        until(lambda: len(link.sent) == 1)
        link.answer = right
        link.lost(ServerError("refused", status))
        if stays:
            with pytest.raises(ServerError, match="refused"):
                future.result(WAIT_S / 2)
        else:
            assert value_of(future.result(WAIT_S / 2).reply) == 3


def test_what_breaks_while_sending_is_sent_again() -> None:
    link = Scripted()
    link.broken = True
    with Sender(link, timeout_s=WAIT_S) as sender:
        future = sender.submit(b"abc")
        until(lambda: link.opened > 1)
        link.broken = False
        assert value_of(future.result().reply) == 3


def test_a_reply_that_does_not_come_is_asked_for_again() -> None:
    link = Scripted()
    answers = iter([None, None, True])
    right = link.answer
    link.answer = lambda request: right(request) if next(answers) else None
    with Sender(link, timeout_s=WAIT_S, resend_s=0.02) as sender:
        assert value_of(sender.submit(b"abc").result().reply) == 3
        assert sender.stats.resent == 2 and len({request.id for request in link.sent}) == 1


@pytest.mark.parametrize("lossy", [True, False])
def test_on_a_lossy_link_it_is_asked_for_again_unasked(lossy: bool) -> None:
    link = Scripted()
    link.lossy, link.answer = lossy, lambda _: None
    with Sender(link, timeout_s=0.5) as sender:  # again after 50, 150 and 350 ms
        with pytest.raises(ServerError, match=r"no answer within 0\.5 s"):
            sender.submit(b"abc").result()
        assert sender.stats.resent in ((1, 2, 3) if lossy else (0,))


def test_time_is_over() -> None:
    link = Scripted()
    link.answer = lambda _: None
    with Sender(link, timeout_s=0.05) as sender:
        with pytest.raises(ServerError, match=r"no answer within 0.05 s"):
            sender.submit(b"abc").result()
        # nothing at all came back: the connection is not trusted any more
        until(lambda: link.opened == 2)
        link.replied(FrameReply(link.sent[0].id))  # it comes after all, and is of no use
        until(lambda: sender.stats.repeated == 1)
        assert sender.stats.failed == 1


def test_a_link_that_never_comes_up() -> None:
    link = Scripted(*[ServerError("no route")] * 100)
    with Sender(link, timeout_s=0.5) as sender:
        assert sender.down is None
        with pytest.raises(ServerError, match=r"no answer within 0.5 s: no route"):
            sender.submit(b"abc").result()
        assert sender.down is not None and "no route" in str(sender.down)


@pytest.mark.parametrize("status", [401, 404])
def test_who_is_refused_at_the_door_is_told_at_once(status: int) -> None:
    link = Scripted(ServerError("a token is needed", status))
    with (
        Sender(link, timeout_s=WAIT_S) as sender,
        pytest.raises(ServerError, match="a token is needed"),
    ):
        sender.submit(b"abc").result()


def test_busy_servers_are_asked_again_later() -> None:
    link = Scripted()
    right, seen = link.answer, []

    def busy_once(request: FrameRequest) -> FrameReply | None:
        seen.append(request)
        if len(seen) == 1:
            return FrameReply(request.id, 503, error="busy", retry_after_s=0.02)
        return right(request)

    link.answer = busy_once
    with Sender(link, timeout_s=WAIT_S) as sender:
        assert value_of(sender.submit(b"abc").result().reply) == 3
    link.answer = lambda request: FrameReply(request.id, 503, error="busy", retry_after_s=60)
    with Sender(link, timeout_s=1) as sender, pytest.raises(ServerError, match="503: busy") as e:
        sender.submit(b"abc").result()
    assert e.value.status == 503


def test_refusals_are_errors() -> None:
    link = Scripted()
    link.answer = lambda request: FrameReply(request.id, 400, error="a bad frame")
    with Sender(link) as sender, pytest.raises(ServerError, match="answered 400: a bad frame"):
        sender.submit(b"abc").result()
    assert len(link.sent) == 1


def test_so_many_are_under_way() -> None:
    link = Scripted()
    link.answer = lambda _: None
    with Sender(link, timeout_s=WAIT_S, waiting=2) as sender:
        futures = [sender.submit(b""), sender.submit(b"a")]
        with pytest.raises(ServerError, match=r"no answer within 0\.01 s"):
            sender.submit(b"ab", timeout_s=0.01).result()
        until(lambda: len(link.sent) == 2)
        link.replied(FrameReply(link.sent[0].id))
        futures.append(sender.submit(b"abc"))  # there is room again
        until(lambda: len(link.sent) == 3)
    assert [future.exception() is None for future in futures] == [True, False, False]
    with pytest.raises(ServerError, match="the client is closed"):
        sender.submit(b"").result()


def test_frames_that_are_too_long() -> None:
    with Sender(MemoryTransport(doubling(), max_len=100)) as sender:
        with pytest.raises(ArgumentError, match=r"the request has 112 bytes: the link carries 100"):
            sender.submit(bytes(100)).result()
        frame = CODEC.encode(sample(1)[0])
        assert value_of(sender.submit(frame).result().reply) == 2


def test_names_of_models_that_are_too_long() -> None:
    with Sender(MemoryTransport(doubling()), "x" * 256) as sender:
        for _ in range(2):  # the client goes on
            with pytest.raises(ProtocolError, match="of 256 bytes: expected 255 at most"):
                sender.submit(b"").result(WAIT_S)


def test_nobody_waits_for_a_link_that_has_a_defect() -> None:
    link = Scripted()

    def fails(_: FrameRequest) -> None:
        raise RuntimeError("a defect")

    link.answer = fails
    closed = threading.Event()
    link.close = closed.set
    with Sender(link, timeout_s=WAIT_S) as sender:
        for _ in range(2):
            with pytest.raises(ServerError, match=r"the link failed: RuntimeError\('a defect'\)"):
                sender.submit(b"").result(WAIT_S / 2)
        assert closed.is_set()


@pytest.mark.parametrize("option", [{"timeout_s": 0}, {"resend_s": -1.0}, {"waiting": 0}])
def test_senders_that_cannot_be(option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(ArgumentError, match=f"{name} is {option[name]}: expected more than 0"):
        Sender(Scripted(), **option)


# ---------------------------------------------------------------- bad links


@pytest.mark.parametrize("seed", range(3))
def test_all_frames_come_through_a_bad_link(seed: int) -> None:
    """With loss, repeats and swaps each frame is run once, and answered once and rightly."""
    runs: list[float] = []
    link = MemoryTransport(doubling(runs), loss=0.2, repeat=0.2, swap=0.2, seed=seed)
    edge = EdgeClient(HEAD, CODEC, link, timeout_s=WAIT_S, resend_s=0.02)
    with edge:
        replies = list(edge.stream(sample(n % 15) for n in range(100)))
        found = edge.statistics()
    assert [value_of(reply) for reply in replies] == [2 * (n % 15 + 1) for n in range(100)]
    assert sorted(runs[1:]) == sorted(n % 15 + 1 for n in range(100))
    assert found["resent"] > 0 and found["repeated"] > 0 and found["samples"] == 100


def test_a_link_that_is_cut() -> None:
    link = MemoryTransport(doubling())
    with EdgeClient(HEAD, CODEC, link, timeout_s=WAIT_S) as edge:
        stop = threading.Event()

        def cut() -> None:
            while not stop.wait(0.01):
                link.cut()

        thread = threading.Thread(target=cut)
        thread.start()
        try:
            replies = list(edge.stream(sample(n % 15) for n in range(60)))
        finally:
            stop.set()
            thread.join()
        assert [value_of(reply) for reply in replies] == [2 * (n % 15 + 1) for n in range(60)]
        assert edge.statistics()["connected"] > 1


@pytest.mark.parametrize("share", [-0.1, 1, float("nan")])
def test_shares_that_are_none(share: float) -> None:
    with pytest.raises(ArgumentError, match=f"loss is {share}: expected 0 to below 1"):
        MemoryTransport(doubling(), loss=share)


# ---------------------------------------------------------------- the edge


def test_run_and_what_it_took() -> None:
    with EdgeClient(HEAD, CODEC, MemoryTransport(doubling())) as edge:
        reply = edge.run(sample(3))
        assert value_of(reply) == 8 and reply.fallback is None
        assert reply.frame_len == len(CODEC.encode(sample(4)[0])) == reply.payload_len + 10
        assert 0 < reply.tail_s < reply.roundtrip_s and reply.head_s > 0 and reply.encode_s > 0
        assert value_of(asyncio.run(edge.run_async(sample(5)))) == 12
        found = edge.statistics()
    assert found["samples"] == 2 and found["sent_bytes"] == 2 * reply.frame_len
    assert set(found["ms"]) == {"head", "encode", "decode", "tail", "roundtrip", "link"}
    assert all(set(ms) == {"p50", "p90", "p99"} for ms in found["ms"].values())


def test_stages_work_side_by_side() -> None:
    """The head takes the next sample while an answer is awaited."""
    ahead = threading.Event()

    def head(array: np.ndarray) -> list[np.ndarray]:
        if array[0, 0] == 1:
            ahead.set()
        return [array]

    def tail(array: np.ndarray) -> list[np.ndarray]:
        if len(calls) == 1:  # the first sample; the one before was at the start
            assert ahead.wait(WAIT_S)
        calls.append(1)
        return [array]

    calls: list[int] = []
    service = Service([Tail(FakeModel(tail), [CODEC])])
    with EdgeClient(head_that(head), CODEC, MemoryTransport(service)) as edge:
        assert [value_of(one) for one in edge.stream([sample(0), sample(1)])] == [0, 1]


def test_streams_end_early_and_pass_errors_on() -> None:
    def head(array: np.ndarray) -> list[np.ndarray]:
        if array[0, 0] == 3:
            raise ModelError("no threes")
        return [array]

    with EdgeClient(head_that(head), CODEC, MemoryTransport(doubling())) as edge:
        endless = edge.stream(sample(0) for _ in itertools.count())
        assert value_of(next(endless)) == 0
        endless.close()
        stream = edge.stream(sample(n) for n in range(10))
        assert [value_of(next(stream)) for _ in range(3)] == [0, 2, 4]
        with pytest.raises(ModelError, match="no threes"):
            next(stream)
        assert value_of(edge.run(sample(1))) == 2


def test_a_head_that_gives_several_samples() -> None:
    with (
        EdgeClient(head_that(lambda x: [np.tile(x, (2, 1))]), CODEC, Scripted()) as edge,
        pytest.raises(FeatureError, match="expected one feature"),
    ):
        edge.run(sample(1))


@pytest.mark.parametrize("fallback", [WHOLE, "skip"])
def test_fallback_while_the_link_is_down(fallback: Any) -> None:
    link = Scripted(*[ServerError("no route")] * 20)
    link.answer = lambda request: FrameReply(request.id, outputs={"out": sample(7)})
    with EdgeClient(HEAD, CODEC, link, timeout_s=0.05, fallback=fallback) as edge:
        for number in range(3):
            reply = edge.run(sample(number))
            assert reply.fallback is not None and "no route" in reply.fallback
            assert not reply.frame_len and np.isnan(reply.roundtrip_s)
            outputs = {} if fallback == "skip" else {"whole": sample(100 * number)}
            assert reply.outputs.keys() == outputs.keys()
            assert all((reply.outputs[key] == outputs[key]).all() for key in outputs)
        assert edge.statistics()["fallbacks"] == 3
        link.openings = iter([None] * 100)
        until(lambda: link.opened > 0)  # nobody asks, and yet it is tried
        until(lambda: edge.run(sample(0)).fallback is None)
        assert value_of(edge.run(sample(0))) == 7


def test_fallback_when_an_answer_is_late() -> None:
    link = Scripted()
    right, slow = link.answer, True

    def late(request: FrameRequest) -> FrameReply | None:
        if not slow:
            return right(request)
        link.replied(FrameReply(0))  # the link is up
        return None

    link.answer = late
    with EdgeClient(HEAD, CODEC, link, timeout_s=0.02, fallback=WHOLE) as edge:
        first = edge.run(sample(1))
        assert value_of(first) == 100 and "no answer within" in str(first.fallback)
        # after some that were late the others are not even sent, but now and then one is
        until(lambda: "an answer is expected after" in str(edge.run(sample(1)).fallback))
        slow = False
        until(lambda: edge.run(sample(1)).fallback is None)


def test_without_a_fallback_it_is_an_error() -> None:
    link = Scripted(*[ServerError("no route")] * 100)
    with (
        EdgeClient(HEAD, CODEC, link, timeout_s=0.5) as edge,
        pytest.raises(ServerError, match=r"no answer within 0.5 s: no route"),
    ):
        edge.run(sample(1))


# ---------------------------------------------------------------- over HTTP


def test_a_server_that_is_killed(tmp_path: Path) -> None:
    """kill -9 while frames are under way: another server on the port answers them all."""
    pytest.importorskip("ai_edge_litert", reason='needs "pysplitcodec[tflite]"')
    from pysplitcodec.runtime import TFLiteModel

    digits = load_digits()
    head, tail = TFLiteModel(digits.head), TFLiteModel(digits.tail)
    features = [head(image)[0] for image in digits.images[:40]]
    codec = Codec(Codebook.fit(np.concatenate(features), 4), "pack", shape=features[0].shape[1:])
    wanted = [tail(codec.decode(codec.encode(one[0]))[None])[0] for one in features]
    write_digits_bundle(tmp_path, codec)
    found: list[Any] = []
    with serving(tmp_path, tmp_path) as first:
        port = int(first.url.rpartition(":")[2])
        edge = EdgeClient(head, codec, HttpTransport(first.url), timeout_s=WAIT_S)
        stream = edge.stream(digits.images[n % 40] for n in range(400))
        found += itertools.islice(stream, 100)
        first.process.kill()
        first.process.wait()
    with serving(tmp_path, tmp_path, port=port), edge:
        found += stream
        assert edge.statistics()["connected"] >= 2
    assert len(found) == 400
    for number, reply in enumerate(found):
        (output,) = reply.outputs.values()
        assert output.tobytes() == wanted[number % 40].tobytes()


def test_a_server_that_is_not_there() -> None:
    with (
        EdgeClient(HEAD, CODEC, HttpTransport("http://127.0.0.1:9"), timeout_s=1) as edge,
        pytest.raises(ServerError, match=r"no answer within 1 s: no server answers at"),
    ):
        edge.run(sample(1))
