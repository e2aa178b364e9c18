"""What waits, what is refused, what is counted: the service behind the endpoints."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from pysplitcodec import Codebook, Codec
from pysplitcodec.errors import ArgumentError, FrameError, ModelError

NEEDS = 'needs "pysplitcodec[serve]"'
for name in ("httpx", "starlette", "uvicorn", "prometheus_client"):
    pytest.importorskip(name, reason=NEEDS)

from fake_model import FakeModel  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from pysplitcodec.serve import ServerLimits, Service, Tail, create_app, protocol  # noqa: E402
from pysplitcodec.serve.batcher import Batcher  # noqa: E402
from pysplitcodec.serve.limits import RefusalError  # noqa: E402
from pysplitcodec.serve.logs import set_up_logging  # noqa: E402
from pysplitcodec.serve.metrics import Metrics  # noqa: E402
from pysplitcodec.serve.once import Once  # noqa: E402
from pysplitcodec.serve.tail import Answer, Work  # noqa: E402

WAIT_S = 30
INFER = "/v2/models/tail/infer"
SAMPLE = np.float32([[1, 2]])


class Held:
    """A model that runs when it is let; notes the batches it ran."""

    def __init__(self) -> None:
        self.go, self.begun = threading.Event(), threading.Event()
        self.runs: list[np.ndarray] = []
        self.model = FakeModel(self._run)

    def _run(self, array: np.ndarray) -> list[np.ndarray]:
        self.runs.append(array.copy())
        if array.any():  # the tail's first run, at the start, is on zeros
            self.begun.set()
            assert self.go.wait(WAIT_S)
        return [array * 2]


def work(value: float = 1, **options: Any) -> Work:
    return Work([np.full((1, 2), value, np.float32)], False, {"out": True}, **options)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), WAIT_S))


@contextlib.contextmanager
def queue(model: Any, **limits: Any) -> Iterator[tuple[Batcher, Metrics]]:
    bounds, metrics = ServerLimits(**limits), Metrics(dict)
    with ThreadPoolExecutor(1) as pool:
        yield Batcher(Tail(model, limits=bounds), pool, bounds, metrics.ran), metrics


async def begun(held: Held) -> None:
    assert await asyncio.get_running_loop().run_in_executor(None, held.begun.wait, WAIT_S)


def start(batcher: Batcher, *works: Work, client: str = "a") -> list[asyncio.Task[Answer]]:
    return [asyncio.ensure_future(batcher.answer(one, client)) for one in works]


# ---------------------------------------------------------------- queues


def test_what_waits_runs_together() -> None:
    held = Held()

    async def scenario() -> None:
        with queue(held.model, run=3) as (batcher, metrics):
            tasks = start(batcher, work(1))
            await begun(held)
            tasks += start(batcher, *(work(value) for value in range(2, 7)))
            await asyncio.sleep(0)
            assert batcher.waiting == 6
            held.go.set()
            answers = await asyncio.gather(*tasks)
            assert [answer.outputs["out"][0, 0] for answer in answers] == [2, 4, 6, 8, 10, 12]
            assert batcher.waiting == 0
            text = metrics.text().decode()
            # one alone, three together, and the two that were left
            assert 'splitcodec_run_requests_count{model="tail"} 3.0' in text
            assert 'splitcodec_run_requests_bucket{le="2.0",model="tail"} 2.0' in text

    run(scenario)
    assert [array.shape for array in held.runs] == [(1, 2)] * 7  # each sample in a call of its own


def test_stacked_runs_are_one_call() -> None:
    held = Held()

    async def scenario() -> None:
        with queue(held.model, run=4, stack=True) as (batcher, _):
            tasks = start(batcher, work(1))
            await begun(held)
            two = Work([SAMPLE, SAMPLE * 3], False, {"out": True})
            tasks += start(batcher, work(2), two)
            await asyncio.sleep(0)
            held.go.set()
            answers = await asyncio.gather(*tasks)
            assert answers[1].outputs["out"].tolist() == [[4, 4]]
            assert answers[2].outputs["out"].tolist() == [[2, 4], [6, 12]]

    run(scenario)
    assert [len(array) for array in held.runs] == [1, 2, 1, 3]  # two runs on zeros first


def test_a_stack_that_fails_runs_one_by_one() -> None:
    def refuses_five(array: np.ndarray) -> list[np.ndarray]:
        if (array == 5).any():
            raise ModelError("five")
        return [array]

    tail = Tail(FakeModel(refuses_five), limits=ServerLimits(stack=True))
    good, bad, other = tail.run([work(1), work(5), work(2)])
    assert isinstance(good, Answer) and good.outputs["out"].tolist() == [[1, 1]]
    assert isinstance(bad, ModelError)
    assert isinstance(other, Answer) and other.outputs["out"].tolist() == [[2, 2]]


def test_models_that_take_one_sample_are_not_stacked() -> None:
    calls = []

    def one_only(array: np.ndarray) -> list[np.ndarray]:
        calls.append(len(array))
        if len(array) > 1:
            raise ModelError("one at a time")
        return [array]

    tail = Tail(FakeModel(one_only), limits=ServerLimits(stack=True))
    assert all(isinstance(one, Answer) for one in tail.run([work(1), work(2)]))
    assert calls == [1, 2, 1, 1]


def test_one_bad_frame_does_not_spoil_its_batch() -> None:
    codec = Codec(Codebook([0, 1]), "pack", shape=(2,))
    tail = Tail(FakeModel(lambda x: [x]), [codec])
    good, bad = tail.run([tail.of_frame(codec.encode(SAMPLE[0])), tail.of_frame(b"no frame")])
    assert isinstance(good, Answer) and isinstance(bad, FrameError)


def test_too_many_wait() -> None:
    held = Held()

    async def scenario() -> None:
        with queue(held.model, max_waiting=4, max_waiting_of_one=4) as (batcher, _):
            tasks = start(batcher, work())
            await begun(held)
            tasks += start(batcher, *[work()] * 3)
            await asyncio.sleep(0)
            with pytest.raises(RefusalError, match="4 requests of a wait") as of_one:
                await batcher.answer(work(), "a")
            assert of_one.value.status == 429
            tasks += start(batcher, work(), client="b")
            await asyncio.sleep(0)
            with pytest.raises(RefusalError, match="4 requests wait for tail") as of_all:
                await batcher.answer(work(), "c")
            assert of_all.value.status == 503
            assert int(of_all.value.headers["Retry-After"]) >= 1
            held.go.set()
            assert len(await asyncio.gather(*tasks)) == 5
            await batcher.answer(work(), "a")

    run(scenario)


def test_requests_whose_time_is_over_do_not_run() -> None:
    held = Held()

    async def scenario() -> None:
        with queue(held.model) as (batcher, _):
            tasks = start(batcher, work(1))
            await begun(held)
            tasks += start(batcher, work(2, timeout_s=0.01), work(3, timeout_s=WAIT_S))
            await asyncio.sleep(0.05)
            held.go.set()
            first, late, last = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(late, RefusalError) and late.status == 504
            assert isinstance(first, Answer) and isinstance(last, Answer)

    run(scenario)
    assert [float(array[0, 0]) for array in held.runs] == [0, 1, 3]


def test_a_request_waits_for_others_to_run_with() -> None:
    held = Held()
    held.go.set()

    async def scenario() -> None:
        with queue(held.model, run=2, delay_s=WAIT_S, stack=True) as (batcher, _):
            await asyncio.gather(*start(batcher, work(1), work(2)))  # enough: they do not wait
        with queue(held.model, run=9, delay_s=0.01) as (batcher, _):
            await asyncio.gather(*start(batcher, work(1)))  # nobody else comes

    run(scenario)
    assert [len(array) for array in held.runs] == [1, 2, 2, 1, 1]


def test_a_defect_of_a_model_reaches_only_its_request() -> None:
    def broken(array: np.ndarray) -> list[np.ndarray]:
        if array.any():
            raise RuntimeError("out of memory")
        return [array]

    async def scenario() -> None:
        with queue(FakeModel(broken)) as (batcher, _):
            found = await asyncio.gather(*start(batcher, work(0), work(1)), return_exceptions=True)
            assert isinstance(found[0], Answer) and isinstance(found[1], RuntimeError)

    run(scenario)


# ---------------------------------------------------------------- requests that come again


def test_a_request_that_comes_again_is_not_run_again() -> None:
    made: list[int] = []

    async def make() -> Answer:
        made.append(1)
        await asyncio.sleep(0.01)
        return Answer({"out": SAMPLE}, 0, 0)

    async def scenario() -> None:
        once = Once()
        same = await asyncio.gather(*(once.answer("key", 7, make) for _ in range(5)))
        assert all(one is same[0] for one in same) and len(made) == 1
        with pytest.raises(RefusalError, match="of another request") as other:
            await once.answer("key", 8, make)
        assert other.value.status == 422
        await once.answer("other key", 7, make)
        assert len(made) == 2

    run(scenario)


def test_what_failed_is_tried_again() -> None:
    made: list[int] = []

    async def make() -> Answer:
        made.append(1)
        if len(made) == 1:
            raise ModelError("not now")
        return Answer({}, 0, 0)

    async def scenario() -> None:
        once = Once()
        with pytest.raises(ModelError):
            await once.answer("key", 7, make)
        await once.answer("key", 7, make)
        assert len(made) == 2

    run(scenario)


def test_answers_that_are_kept_are_bounded() -> None:
    big = np.zeros(12 << 20, np.uint8)
    made: list[int] = []

    async def make() -> Answer:
        made.append(1)
        return Answer({"out": big}, 0, 0)

    async def scenario() -> None:
        once = Once()
        for key in range(20):
            await once.answer(key, 0, make)
        await once.answer(19, 0, make)
        assert len(made) == 20  # the latest is there
        await once.answer(0, 0, make)
        assert len(made) == 21  # the first has gone

    run(scenario)


# ---------------------------------------------------------------- over HTTP


def client(service: Service) -> TestClient:
    return TestClient(create_app(service))


def plain() -> Service:
    return Service([Tail(FakeModel(lambda x: [x]))])


def sent(value: np.ndarray = SAMPLE, **options: Any) -> dict[str, Any]:
    message = protocol.encode_request({"in0": value}, **options)
    return {"content": message.body, "headers": message.headers()}


def test_the_timeout_of_triton() -> None:
    message = protocol.encode_request({"in0": SAMPLE}, timeout_s=1.5)
    assert json.loads(message.body[: message.json_len])["parameters"]["timeout"] == 1_500_000
    assert protocol.decode_request(message.body, message.json_len).timeout_s == 1.5
    for value in (-1, 1.5, "1", 10**12, True):
        top = {"inputs": [], "parameters": {"timeout": value}}
        answer = client(plain()).post(INFER, content=json.dumps(top))
        assert answer.status_code == 400 and "timeout" in answer.json()["error"]


def test_idempotency_keys() -> None:
    runs = []

    def count(array: np.ndarray) -> list[np.ndarray]:
        runs.append(1)
        return [array]

    asked = sent()
    asked["headers"]["Idempotency-Key"] = "one"
    with client(Service([Tail(FakeModel(count))])) as http:
        first, again = (http.post(INFER, **asked) for _ in range(2))
        assert first.status_code == again.status_code == 200
        assert len(runs) == 2  # one of them at the start
        other = sent(SAMPLE * 2)
        other["headers"]["Idempotency-Key"] = "one"
        assert http.post(INFER, **other).status_code == 422


def test_metrics() -> None:
    with client(plain()) as http:
        answer = http.post(INFER, **sent())
        http.post(INFER, content=b"{")
        http.get("/v2/models/nobody")
        text = http.get("/metrics").text
    size = len(sent()["content"])
    for line in (
        'splitcodec_requests_total{model="tail",status="200"} 1.0',
        'splitcodec_requests_total{model="tail",status="400"} 1.0',
        'splitcodec_requests_total{model="",status="404"} 1.0',
        f'splitcodec_received_bytes_total{{model="tail"}} {size}.0',
        f'splitcodec_sent_bytes_total{{model="tail"}} {len(answer.content)}.0',
        'splitcodec_stage_seconds_count{model="tail",stage="tail"} 1.0',
        'splitcodec_waiting_requests{model="tail"} 0.0',
    ):
        assert line in text, text


def test_draining() -> None:
    service = plain()
    with client(service) as http:
        assert http.get("/v2/health/ready").status_code == 200
        service.draining = True
        assert http.get("/v2/health/ready").status_code == 503
        assert http.get("/v2/health/live").status_code == 200
        answer = http.post(INFER, **sent())
        assert answer.status_code == 200 and answer.headers["connection"] == "close"


def test_tails_are_replaced_without_losing_a_request() -> None:
    held = Held()
    service = Service([Tail(held.model)])

    async def scenario() -> None:
        first = asyncio.ensure_future(service.answer("tail", work(3), "a"))
        await begun(held)
        service.replace([Tail(FakeModel(lambda x: [x + 100])), Tail(held.model, name="other")])
        after = await service.answer("tail", work(3), "a")
        assert after.outputs["out"][0, 0] == 103
        held.go.set()
        assert (await first).outputs["out"][0, 0] == 6

    run(scenario)
    assert service.models == ["tail", "other"]
    with pytest.raises(ArgumentError, match="models are none"):
        service.replace([])
    assert service.models == ["tail", "other"]


def test_bodies_have_room_for_so_many_bytes() -> None:
    limits = ServerLimits(max_bodies=100)
    with client(Service([Tail(FakeModel(lambda x: [x]))], limits=limits)) as http:
        answer = http.post(INFER, **sent(np.zeros((9, 2), np.float32)))
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
        assert http.get("/v2").status_code == 200
    limits = ServerLimits(max_bodies=10_000)
    with client(Service([Tail(FakeModel(lambda x: [x]))], limits=limits)) as http:
        for _ in range(100):  # the room is given back
            assert http.post(INFER, **sent()).status_code == 200
            assert http.post(INFER, content=b"x" * 9_000).status_code == 400


@pytest.mark.parametrize(
    "limit", [{"max_body": 0}, {"max_waiting": 0}, {"run": 0}, {"delay_s": -1.0}, {"body_s": -1.0}]
)
def test_limits_that_bound_nothing(limit: dict[str, Any]) -> None:
    (name,) = limit
    with pytest.raises(ArgumentError, match=f"{name} is {limit[name]}: expected at least"):
        ServerLimits(**limit)


# ---------------------------------------------------------------- the log


def test_refusals_are_not_logged_over_and_over(caplog: pytest.LogCaptureFixture) -> None:
    with client(plain()) as http:
        for _ in range(50):
            http.get("/v2/models/nobody")
            http.post(INFER, content=b"{")
    statuses = [record.fields["status"] for record in caplog.records]  # type: ignore[attr-defined]
    assert sorted(statuses) == [400] * 5 + [404] * 5


def test_lines_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        set_up_logging(True)
        with client(plain()) as http:
            http.get("/v2/models/a%0Ab")
        (line,) = capsys.readouterr().err.splitlines()
    finally:
        root.handlers = before
    said = json.loads(line)
    assert said["status"] == 404 and said["level"] == "warning" and said["client"] == "testclient"
    assert "there is no model" in said["message"]
