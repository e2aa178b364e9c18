"""What the dashboard is told: rates, times, accuracy and refusals, in bounded memory."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import math
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pysplitcodec import Codebook, Codec
from pysplitcodec.demo import load_digits
from pysplitcodec.runtime import TFLiteModel

NEEDS = 'needs "pysplitcodec[serve,tflite]"'
for name in ("httpx", "starlette", "uvicorn", "prometheus_client", "ai_edge_litert"):
    pytest.importorskip(name, reason=NEEDS)

import httpx  # noqa: E402
from fake_model import FakeModel  # noqa: E402
from server_process import TIMEOUT_S, Served, serving  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from pysplitcodec.serve import (  # noqa: E402
    ServerLimits,
    Service,
    Tail,
    TailClient,
    create_app,
    protocol,
)
from pysplitcodec.serve.framed import reply_to  # noqa: E402
from pysplitcodec.serve.live import Live  # noqa: E402
from pysplitcodec.serve.messages import FrameRequest  # noqa: E402
from pysplitcodec.serve.tail import Answer, Work  # noqa: E402
from pysplitcodec.serve.tokens import Tokens, add_token  # noqa: E402

INFER = "/v2/models/tail/infer"
PLAN = {
    "split": "block1",
    "feature_bits": 3,
    "weight_bits": {"a": 6, "b": 4},
    "accuracy_drop": 0.01,
    "latency_s": 0.1,
}


class Clock:
    """Stands where it is put."""

    def __init__(self) -> None:
        self.now = 1000.25

    def __call__(self) -> float:
        return self.now


class Fed:
    """A recorder, its clock, and a short way to feed it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.live = Live(self.clock)

    def request(
        self,
        client: str = "a",
        samples: int = 1,
        labels: tuple[int, ...] = (),
        right: int = 0,
        times: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),
        received: int = 0,
        sent: int = 0,
    ) -> None:
        wait_s, decode_s, tail_s, seconds = times
        work = Work([b""] * samples, True, {}, labels=labels)
        answer = Answer({}, decode_s, tail_s, right, wait_s)
        self.live.answered(client, "tail", work, answer, seconds, received, sent)

    def told(self) -> dict[str, Any]:
        snapshot = self.live.snapshot()
        text = json.dumps(snapshot, allow_nan=False)
        assert json.loads(text) == snapshot  # plain JSON, no numpy numbers or integer keys
        return snapshot


# ---------------------------------------------------------------- the recorder


def test_nothing_yet() -> None:
    told = Fed().told()
    assert told["all"]["requests"] == told["device_count"] == 0
    assert told["all"]["ms"] == {} and told["all"]["last_10_s"]["accuracy"] is None
    assert told["all"]["last_60_s"]["samples_per_s"] == 0
    assert told["seconds"]["samples"] == [] and told["statuses"] == {"200": 0}


def test_rates_of_whole_seconds() -> None:
    """Second s has s requests of two samples each, 100 bytes in and 7 out, for 75 seconds."""
    fed = Fed()
    for second in range(75):
        fed.clock.now = 1000.25 + second
        for _ in range(second):
            fed.request(samples=2, received=100, sent=7)
    fed.clock.now = 1000.25 + 74.9
    told = fed.told()["all"]
    last_10, last_60 = sum(range(64, 74)), sum(range(14, 74))  # the 74th is not over
    assert told["last_10_s"] == {
        "samples_per_s": 2 * last_10 / 10,
        "received_bytes_per_s": 100 * last_10 / 10,
        "sent_bytes_per_s": 7 * last_10 / 10,
        "accuracy": None,
    }
    assert told["last_60_s"]["samples_per_s"] == 2 * last_60 / 60
    assert told["requests"] == sum(range(75)) and told["samples"] == 2 * sum(range(75))
    seconds = fed.told()["seconds"]
    assert seconds["samples"] == [2 * second for second in range(14, 74)]
    assert seconds["received_bytes"] == [100 * second for second in range(14, 74)]


def test_rates_of_a_server_that_just_began() -> None:
    fed = Fed()
    for _ in range(6):
        fed.request()
    fed.clock.now += 3.5
    told = fed.told()["all"]
    assert told["last_10_s"]["samples_per_s"] == told["last_60_s"]["samples_per_s"] == 2


def test_rates_after_a_pause() -> None:
    fed = Fed()
    fed.request()
    fed.clock.now += 55
    fed.request()
    fed.clock.now += 7
    told = fed.told()
    assert told["all"]["last_10_s"]["samples_per_s"] == 1 / 10
    assert told["all"]["last_60_s"]["samples_per_s"] == 1 / 60  # the first is 62 s ago
    assert told["seconds"]["samples"] == [0] * 53 + [1] + [0] * 6
    fed.clock.now += 1e6
    told = fed.told()
    assert told["all"]["last_60_s"]["samples_per_s"] == 0 and told["all"]["requests"] == 2
    assert told["seconds"]["samples"] == [0] * 60
    assert told["devices"][0]["ago_s"] == 1e6 + 7


def test_mean_times_of_each_second() -> None:
    fed = Fed()
    fed.request(times=(0, 0, 0.5, 1.0))
    fed.request(times=(0, 0, 0.25, 2.0))
    fed.clock.now += 2
    fed.request(times=(0, 0, 4.0, 8.0))
    fed.clock.now += 1
    seconds = fed.told()["seconds"]
    assert seconds["request_ms"] == [1500, None, 8000]
    assert seconds["tail_ms"] == [375, None, 4000]


def test_percentiles_are_of_the_last_requests() -> None:
    """By nearest rank: the least value that so many percent of all do not exceed."""
    fed = Fed()
    drawn = np.random.default_rng(0).integers(1, 10_000, (6000, 4)) / 1024  # exact in float32
    for number, row in enumerate(drawn):
        fed.request("b" if number % 20 == 0 else "a", times=tuple(row))
    fed_by_b = drawn[::20]
    told = fed.told()
    devices = {device["name"]: device for device in told["devices"]}
    for rows, found in ((drawn[-4096:], told["all"]), (fed_by_b[-256:], devices["b"])):
        assert list(found["ms"]) == ["wait", "decode", "tail", "request"]
        for column, of_stage in zip(rows.T, found["ms"].values()):
            for name, percent in (("p50", 50), ("p90", 90), ("p99", 99)):
                wanted = sorted(column)[math.ceil(len(column) * percent / 100) - 1]
                assert of_stage[name] == round(wanted * 1e3, 3)


def test_accuracy() -> None:
    fed = Fed()
    fed.request("a", samples=4, labels=(1, 2, 3, 4), right=3)
    fed.request("a", samples=5)  # without labels it does not count
    fed.request("b", labels=(1,), right=0)
    fed.clock.now += 30
    fed.request("a", labels=(1,), right=1)
    fed.clock.now += 1
    told = fed.told()
    a, b = sorted(told["devices"], key=lambda device: device["name"])
    assert (a["labelled"], a["right"], b["labelled"], b["right"]) == (5, 4, 1, 0)
    assert a["last_60_s"]["accuracy"] == 4 / 5 and a["last_10_s"]["accuracy"] == 1
    assert told["all"]["last_60_s"]["accuracy"] == 4 / 6
    assert b["last_10_s"]["accuracy"] is None


def test_devices_are_bounded() -> None:
    fed = Fed()
    for number in range(1500):
        fed.request(f"device {number}")
        fed.request("always here")
    fed.request("x" * 100_000)
    told = fed.told()
    assert told["device_count"] == 1000
    names = [device["name"] for device in told["devices"]]
    assert names == ["x" * 100, "always here", *(f"device {n}" for n in range(1499, 1401, -1))]
    counts = {device["name"]: device["requests"] for device in told["devices"]}
    assert counts["always here"] == 1500
    assert told["all"]["requests"] == 3001
    fed.request("device 0")  # was forgotten
    assert fed.told()["devices"][0]["requests"] == 1


def test_refusals_are_bounded() -> None:
    fed = Fed()
    fed.request("a")
    for number in range(500):
        fed.clock.now += 1
        fed.live.refused("a" if number % 2 else "n" * 5000, 400, "POST x", f"{number} " + "w" * 999)
    fed.live.refused("a", 503, "POST y", "too many")
    told = fed.told()
    assert told["statuses"] == {"200": 1, "400": 500, "503": 1}
    assert len(told["refusals"]) == 50
    first, second, third = told["refusals"][:3]
    assert first == {
        "ago_s": 0.0,
        "client": "a",
        "status": 503,
        "where": "POST y",
        "why": "too many",
    }
    assert second["why"].startswith("499 w") and len(second["why"]) == 300
    assert third["ago_s"] == 1.0 and third["client"] == "n" * 100
    # who is only refused takes no other's place
    assert [device["name"] for device in told["devices"]] == ["a"]
    assert told["devices"][0]["refused"] == 251


def test_plans() -> None:
    fed = Fed()
    fed.live.negotiated("pi", "digits", {**PLAN, "split": "early"})
    fed.live.negotiated("pi", "digits", PLAN)
    fed.live.negotiated("whole", "digits", {**PLAN, "weight_bits": {}})
    whole, pi = fed.told()["devices"]
    assert pi["requests"] == 0 and pi["model"] is None
    assert pi["plan"] == {
        "model": "digits",
        "split": "block1",
        "feature_bits": 3,
        "weight_bits": [4, 6],
        "accuracy_drop": 0.01,
    }
    assert whole["plan"]["weight_bits"] is None


# ---------------------------------------------------------------- labels


def doubled(array: np.ndarray) -> list[np.ndarray]:
    """Two outputs: the largest element of the first is the last, of the second the first."""
    return [array * 2, -array]


def service_of(outputs: tuple[str, ...] = ("scores", "other"), **limits: Any) -> Service:
    model = FakeModel(doubled, shape=(1, 3), outputs=outputs)
    bounds = ServerLimits(**limits)
    return Service([Tail(model, limits=bounds)], limits=bounds)


RISING = np.float32([[0, 1, 2]])


def request(label: Any, values: np.ndarray = RISING, **options: Any) -> dict[str, Any]:
    top: dict[str, Any] = {
        "inputs": [
            {
                "name": "in0",
                "datatype": "FP32",
                "shape": list(values.shape),
                "data": values.ravel().tolist(),
            }
        ],
        "parameters": {} if label is None else {"label": label},
        **options,
    }
    return {"content": json.dumps(top)}


@pytest.mark.parametrize("stack", [False, True])
@pytest.mark.parametrize(
    ("label", "samples", "right"),
    [(2, 1, 1), (0, 1, 0), ([2], 1, 1), ([2, 0, 2, 1], 4, 2), ([2, 2], 2, 2)],
)
def test_labels_are_compared(label: Any, samples: int, right: int, stack: bool) -> None:
    service = service_of(stack=stack)
    values = np.repeat(RISING, samples, axis=0)
    with TestClient(create_app(service)) as http:
        plain = http.post(INFER, **request(None, values)).json()
        answer = http.post(INFER, **request(label, values)).json()
        told = http.get("/v1/live").json()
    assert answer["outputs"] == plain["outputs"] and set(answer) == set(plain)
    assert set(answer["parameters"]) == set(plain["parameters"])
    (device,) = told["devices"]
    assert (device["labelled"], device["right"]) == (samples, right)
    assert device["samples"] == 2 * samples


def test_the_first_output_is_compared_whatever_is_wanted() -> None:
    service = service_of()
    with TestClient(create_app(service)) as http:
        answer = http.post(INFER, **request(2, outputs=[{"name": "other"}]))
        assert [one["name"] for one in answer.json()["outputs"]] == ["other"]
    assert service.live.snapshot()["all"]["right"] == 1


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("2", "label of the request is '2': expected an integer, or one for each sample"),
        (1.0, "label of the request is 1.0: expected an integer"),
        (True, "label of the request is True: expected an integer"),
        ([], "label of the request is []: expected an integer"),
        ([1, None], "label of the request is [1, None]: expected an integer"),
        ([1, 2], "the request has 2 labels for 1 samples"),
        (3, "label is 3: expected 0 to 2, an element of output 'scores'"),
        (-1, "label is -1: expected 0 to 2"),
        (10**400, "expected 0 to 2"),
    ],
)
def test_labels_that_will_not_do(label: Any, says: str) -> None:
    service = service_of()
    with TestClient(create_app(service)) as http:
        answer = http.post(INFER, **request(label))
    assert answer.status_code == 400 and says in answer.json()["error"]
    told = service.live.snapshot()
    assert told["statuses"] == {"200": 0, "400": 1} and says in told["refusals"][0]["why"]


@pytest.mark.parametrize("label", [2, np.int64(2), [2], np.array([2])])
def test_clients_send_labels(label: Any) -> None:
    message = protocol.encode_request({"in0": RISING}, label=label)
    assert protocol.decode_request(message.body, message.json_len).labels == (2,)


# ---------------------------------------------------------------- over HTTP and other links


def test_what_was_sent_is_what_is_told() -> None:
    service = service_of()
    sizes = []
    with TestClient(create_app(service)) as http:
        for _ in range(3):
            asked = request(None)
            sizes.append((len(asked["content"]), len(http.post(INFER, **asked).content)))
        http.post(INFER, content=b"{")
        http.get("/v2/models/nobody")
        answer = http.get("/v1/live")
        told = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    (device,) = told["devices"]
    assert device["name"] == "testclient" and device["model"] == "tail"
    assert device["received_bytes"] == sum(received for received, _ in sizes)
    assert device["sent_bytes"] == sum(sent for _, sent in sizes)
    assert told["statuses"] == {"200": 3, "400": 1, "404": 1} and device["refused"] == 2
    assert [one["status"] for one in told["refusals"]] == [404, 400]
    assert told["waiting"] == {"tail": 0} and told["draining"] is False
    stages = device["ms"]
    assert stages["request"]["p50"] >= stages["tail"]["p50"] > 0 and stages["wait"]["p50"] >= 0


def test_waiting_is_a_stage() -> None:
    """Of two requests that come together, the second waits for the first's run."""

    def slow(array: np.ndarray) -> list[np.ndarray]:
        time.sleep(0.05 if array.any() else 0)
        return [array]

    service = Service([Tail(FakeModel(slow))], limits=ServerLimits(run=1))

    async def both() -> list[Answer]:
        work = Work([np.float32([[1, 1]])], False, {"out": True})
        return await asyncio.gather(*(service.answer("tail", work, "a") for _ in range(2)))

    first, second = asyncio.run(both())
    assert first.wait_s < 0.05 <= second.wait_s


def test_frames_of_other_links_count_too() -> None:
    codec = Codec(Codebook([0, 1]), "pack", shape=(2,))
    service = Service([Tail(FakeModel(lambda x: [x]), [codec])])
    good = FrameRequest(7, codec.encode(np.float32([1, 0]))).pack()

    async def scenario() -> list[bytes]:
        return [await reply_to(service, data, "pi", "COM3") for data in (good, b"no request")]

    reply, _ = asyncio.run(scenario())
    told = service.live.snapshot()
    (device,) = told["devices"]
    assert device["name"] == "pi" and device["requests"] == device["refused"] == 1
    assert (device["received_bytes"], device["sent_bytes"]) == (len(good), len(reply))
    assert told["refusals"][0]["where"] == "COM3"


def test_the_page_needs_no_token_but_its_data_do(tmp_path: Path) -> None:
    token = add_token(tmp_path / "tokens.toml", "me")
    service = service_of()
    service.tokens = Tokens.load(tmp_path / "tokens.toml")
    with TestClient(create_app(service)) as http:
        assert http.get("/dashboard").status_code == 200
        for path in ("/v1/live", "/v1/live/events"):
            assert http.get(path).status_code == 401
        headers = {"Authorization": f"Bearer {token}"}
        assert http.get("/v1/live", headers=headers).json()["statuses"]["401"] == 2


def test_the_page_lets_nothing_else_in() -> None:
    with TestClient(create_app(service_of())) as http:
        answer = http.get("/dashboard")
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'" and policy["connect-src"] == "'self'"
    for tag in ("script", "style"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", answer.text)
    assert not re.search(r"\son\w+=|style=|innerHTML|<script src|<link rel=\"style", answer.text)


# ---------------------------------------------------------------- events, from a process

DIGITS = load_digits()
TAIL = TFLiteModel(DIGITS.tail)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "digits.tflite").write_bytes(DIGITS.tail)
    with serving(tmp_path, tmp_path / "digits.tflite") as server:
        yield server


def opened(stack: contextlib.ExitStack, served: Served) -> httpx.Response:
    stream = httpx.stream("GET", f"{served.url}/v1/live/events", timeout=TIMEOUT_S)
    return stack.enter_context(stream)


def events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = answer.iter_lines()
    for line in lines:
        assert line.startswith("data: ") and next(lines) == ""
        yield json.loads(line.removeprefix("data: "))


def test_an_event_each_second(served: Served) -> None:
    features = TFLiteModel(DIGITS.head)(DIGITS.images[0])[0]
    right = int(TAIL(features)[0].argmax())
    with contextlib.ExitStack() as stack:
        told = events(opened(stack, served))
        assert next(told)["all"]["requests"] == 0
        with TailClient(served.url) as tail:
            for label in (right, right, (right + 1) % 10):
                tail.infer_tensor(features, label=label)
            tail.infer(
                Codec(Codebook.fit(features, 4), "pack", shape=features.shape[1:]).encode(
                    features[0], self_describing=True
                ),
                label=np.int64(right),
            )
        while (last := next(told))["all"]["requests"] < 4:
            pass
        assert (last["all"]["labelled"], last["all"]["right"]) == (4, 3)
        ups = [last["up_s"], next(told)["up_s"], next(told)["up_s"]]
        assert ups[2] - ups[0] > 0.99  # of three different seconds, however late they come


def test_streams_are_bounded(served: Served) -> None:
    with contextlib.ExitStack() as others:
        with contextlib.ExitStack() as stack:
            streams = [events(opened(stack, served)) for _ in range(16)]
            assert all(next(stream)["device_count"] == 0 for stream in streams)
            refused = httpx.get(f"{served.url}/v1/live/events")
            assert refused.status_code == 503 and refused.headers["retry-after"] == "5"
            assert "16 dashboards are open" in refused.json()["error"]
            assert httpx.get(f"{served.url}/v1/live").status_code == 200
        end = time.monotonic() + TIMEOUT_S
        while (answer := opened(others, served)).status_code == 503:  # the others have left
            assert time.monotonic() < end
            time.sleep(0.05)
        assert next(events(answer))["device_count"] == 0


def test_open_streams_do_not_keep_a_server_from_stopping(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        streams = [events(opened(stack, served)) for _ in range(5)]
        for stream in streams:
            next(stream)
        served.process.send_signal(signal.SIGTERM)
        for stream in streams:
            list(stream)  # to the end that the server gives it: one cut off would raise
    assert served.process.wait(TIMEOUT_S) == -signal.SIGTERM
    log = served.log.read_text()
    assert "Traceback" not in log and "Cancel" not in log
