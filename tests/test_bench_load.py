"""bench/load.py against a real server: good and bad requests counted, wrong answers noticed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason='needs "pysplitcodec[onnx]"')
pytest.importorskip("onnxruntime", reason='needs "pysplitcodec[onnx]"')
pytest.importorskip("starlette", reason='needs "pysplitcodec[serve]"')
pytest.importorskip("uvicorn", reason='needs "pysplitcodec[serve]"')

import load
import onnx
import toy_tail
from load_requests import BAD_KINDS, Maker, Request, mixed, random_frames

from pysplitcodec import Codec, inspect
from pysplitcodec.runtime import open_model

TIMEOUT_S = 60


@contextmanager
def serving(tail: Path, codec: Path) -> Iterator[tuple[str, int]]:
    """A server process; gives its host and port."""
    command = [sys.executable, "-m", "pysplitcodec", "serve", str(tail), "--codec", str(codec)]
    with subprocess.Popen(
        [*command, "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        watch = threading.Timer(TIMEOUT_S, process.kill)  # the line below may never come
        watch.start()
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            yield "127.0.0.1", int(url.rpartition(":")[2])
        finally:
            watch.cancel()
            process.kill()


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return toy_tail.write(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def server(toy: tuple[Path, Path]) -> Iterator[tuple[str, int]]:
    with serving(*toy) as address:
        yield address


@pytest.fixture(scope="module")
def maker(toy: tuple[Path, Path]) -> Maker:
    return Maker("127.0.0.1", "tail", open_model(toy[0]), Codec.load(toy[1]))


def drive(address: tuple[str, int], requests: Any, connections: int, **limits: Any) -> Any:
    return load.run(load.Load(address, requests, connections, timeout_s=TIMEOUT_S, **limits))


def canned(answer: bytes | None, busy_s: float = 0) -> tuple[str, int]:
    """A server that sends the same bytes to whoever sends something, or only closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer_one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if connection.recv(1 << 16) and answer is not None:
                time.sleep(busy_s)
                connection.sendall(answer)
                time.sleep(busy_s / 5)

    def answer_all() -> None:
        while True:
            threading.Thread(target=answer_one, args=listener.accept()[:1], daemon=True).start()

    threading.Thread(target=answer_all, daemon=True).start()
    return listener.getsockname()[:2]


def test_the_toy_tail_is_exact_in_batches(toy: tuple[Path, Path]) -> None:
    tail, codec = open_model(toy[0]), Codec.load(toy[1])
    frames = random_frames(codec, 8, 0)
    assert {inspect(frame).payload_len for frame in frames} == {6144}
    features = codec.decode_batch(frames)
    one_by_one = np.concatenate([tail(feature[np.newaxis])[0] for feature in features])
    assert tail(features)[0].tobytes() == one_by_one.tobytes()
    weights = onnx.numpy_helper.to_array(onnx.load(toy[0]).graph.initializer[0])
    wanted = features.astype(float).mean((2, 3)) @ weights.astype(float)
    assert (one_by_one == wanted).all()
    assert len(np.unique(one_by_one, axis=0)) == 8


def test_good_and_bad_requests_are_told_apart(server: tuple[str, int], maker: Maker) -> None:
    good, bad = maker.good(), maker.bad(BAD_KINDS)
    report = drive(server, mixed(good, bad, 0.4, seed=0), 8, count=600)
    assert report["wrong"] == 0, report["wrong_examples"]
    right = {
        "good": "200",
        "damaged": "400",
        "huge": "400",
        "wrong_shape": "400",
        "unknown_model": "404",
        "oversize": "413",
        "leaves": "closed",
    }
    assert {kind: list(counts) for kind, counts in report["answers"].items()} == {
        kind: [outcome] for kind, outcome in right.items()
    }
    sent = mixed(good, bad, 0.4, seed=0)
    kinds = [next(sent).kind for _ in range(600)]
    for kind, outcome in right.items():
        assert report["answers"][kind][outcome] == kinds.count(kind) > 0
    latency = report["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]


def test_open_loop(server: tuple[str, int], maker: Maker) -> None:
    report = drive(server, mixed(maker.good(), [], 0, 0), 2, count=50, rate=500)
    assert report["answers"] == {"good": {"200": 50}}
    assert report["seconds"] > 49 / 500  # not earlier than due


def test_connections_that_are_closed_while_idle_are_used_once(maker: Maker) -> None:
    address = canned(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}", busy_s=0.03)
    report = drive(address, mixed(maker.good(), [], 0, 0), 8, count=60, rate=100)
    assert sum(report["answers"]["good"].values()) == 60  # none was lost


def test_answers_of_another_tail_are_wrong(
    toy: tuple[Path, Path], maker: Maker, tmp_path: Path
) -> None:
    model = onnx.load(toy[0])
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
    weights[-1, -1] += 1  # one weight, of the last output
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "weights"))
    other = tmp_path / "tail.onnx"
    onnx.save(model, other)
    with serving(other, toy[1]) as address:
        report = drive(address, mixed(maker.good(), maker.bad(["damaged"]), 0.2, 0), 4, count=100)
    assert report["wrong"] == report["answers"]["good"]["200"] > 50
    assert report["requests_per_s"] == 0
    assert report["wrong_examples"][0]["kind"] == "good"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", "200"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", "500"),
        (b'HTTP/1.1 400 No\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{"error":"x"}', "400"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "closed"),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", "unreadable"),
        (None, "closed"),
    ],
)
def test_wrong_answers_to_good_requests(maker: Maker, answer: bytes | None, outcome: str) -> None:
    report = drive(canned(answer), mixed(maker.good(), [], 0, 0), 1, count=3)
    assert report["answers"] == {"good": {outcome: 3}}
    assert report["wrong"] == 3


@pytest.mark.parametrize("body", [b"", b"{}", b'{"error":""}', b"no such model"])
def test_refusals_must_say_why(maker: Maker, body: bytes) -> None:
    head = f"HTTP/1.1 404 No\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    bad = maker.bad(["unknown_model"])
    report = drive(canned(head.encode() + body), mixed(bad, bad, 1, 0), 1, count=2)
    assert report["answers"] == {"unknown_model": {"404": 2}}
    assert report["wrong"] == 2


def test_wrong_tokens_need_a_right_one(toy: tuple[Path, Path], maker: Maker) -> None:
    assert maker.bad(["wrong_token"]) == []
    asked = Maker("h", "tail", open_model(toy[0]), Codec.load(toy[1]), token="secret")
    assert all(b"\r\nAuthorization: Bearer secret\r\n" in one.data for one in asked.good())
    refused = asked.bad(["wrong_token"])[0]
    assert b"secret\r\n" not in refused.data
    assert refused.outcomes == {"401"}


def test_slow_bodies_must_be_ended(maker: Maker) -> None:
    slow = maker.slow()
    assert slow.data + slow.rest == maker.good()[0].data
    body = b'{"error":"too slow"}'
    head = f"HTTP/1.1 408 Slow\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    nothing: Iterator[Request] = iter(())
    report = drive(canned(head.encode() + body), nothing, 0, slow=(slow,), seconds=0.2)
    assert report["wrong"] == 0
    assert report["answers"]["slow"]["408"] > 0
