"""The server in Ray Serve: replicas in a local Ray, asked over its proxy."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

# before Ray is read: what it reports home, and the tokens that it keeps there
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_AUTH_MODE"] = "disabled"

NEEDS = 'needs "pysplitcodec[ray,tflite]"'
for name in ("ray.serve", "starlette", "prometheus_client", "httpx", "ai_edge_litert"):
    pytest.importorskip(name, reason=NEEDS)

import httpx  # noqa: E402
import ray  # noqa: E402
from digits_bundle import write_digits_bundle  # noqa: E402
from ray import serve  # noqa: E402

from pysplitcodec import Codebook, Codec  # noqa: E402
from pysplitcodec.demo import load_digits  # noqa: E402
from pysplitcodec.runtime import TFLiteModel  # noqa: E402
from pysplitcodec.serve import ServerLimits, TailClient, protocol  # noqa: E402
from pysplitcodec.serve.ray_app import Settings, app, deployment  # noqa: E402

DIGITS = load_digits()
HEAD, TAIL = TFLiteModel(DIGITS.head), TFLiteModel(DIGITS.tail)
FEATURES = [HEAD(image)[0] for image in DIGITS.images[:8]]
CODEC = Codec(Codebook.fit(FEATURES[0], 2), "pack", shape=FEATURES[0].shape[1:])
FRAMES = [CODEC.encode(feature[0]) for feature in FEATURES]
WANTED = [TAIL(CODEC.decode(frame)[None])[0] for frame in FRAMES]
TIMEOUT_S = 60


def processes() -> dict[int, tuple[int, int]]:
    """By number: the parent's number, and when it was started."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            found[int(stat.parent.name)] = int(fields[1]), int(fields[19])
    return found


def started() -> dict[int, int]:
    """All processes that this one has started, or they, and when."""
    there = processes()
    tree = {os.getpid()}
    while more := {pid for pid, (parent, _) in there.items() if parent in tree} - tree:
        tree |= more
    return {pid: there[pid][1] for pid in tree - {os.getpid()}}


@pytest.fixture(scope="module")
def proxy() -> Iterator[str]:
    """The address of Ray's proxy; afterwards nothing that was started is left."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    before = set(started())
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        yield f"http://127.0.0.1:{port}"
    finally:
        ours = [one for one in started().items() if one[0] not in before]
        serve.shutdown()
        ray.shutdown()
    assert len(ours) > 2  # Ray's own, and the proxy
    end = time.monotonic() + TIMEOUT_S
    while set(ours) & {(pid, start) for pid, (_, start) in processes().items()}:
        assert time.monotonic() < end
        time.sleep(0.1)


@contextlib.contextmanager
def running(what: serve.Application) -> Iterator[None]:
    serve.run(what, name="tails")
    try:
        yield
    finally:
        serve.delete("tails")


def infer(url: str, model: str, *frames: bytes) -> httpx.Response:
    tensor = np.empty(len(frames), object)
    tensor[:] = frames
    message = protocol.encode_request({"frame": tensor})
    path = f"{url}/v2/models/{model}/infer"
    return httpx.post(path, content=message.body, headers=message.headers(), timeout=TIMEOUT_S)


def outputs(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    json_len = protocol.parse_json_len(answer.headers.get(protocol.JSON_LEN_HEADER))
    (output,) = protocol.decode_response(answer.content, json_len).outputs.values()
    return output


def metric(url: str, name: str, model: str) -> float | None:
    text = httpx.get(f"{url}/metrics").text
    found = re.search(rf'^splitcodec_{name}{{model="{model}"}} (\S+)$', text, re.MULTILINE)
    return None if found is None else float(found[1])


def test_one_replica(proxy: str, tmp_path: Path) -> None:
    limits = ServerLimits(run=8, delay_s=20, max_body=20_000)
    settings = Settings(sources=[str(write_digits_bundle(tmp_path / "out", CODEC))], limits=limits)
    with running(deployment(settings)):
        # none runs before all are there
        with ThreadPoolExecutor(len(FRAMES)) as pool:
            answers = pool.map(lambda frame: infer(proxy, "digits", frame), FRAMES)
        for answer, wanted in zip(answers, WANTED):
            assert outputs(answer).tobytes() == wanted.tobytes()
        assert metric(proxy, "run_requests_count", "digits") == 1
        assert metric(proxy, "run_requests_sum", "digits") == len(FRAMES)

        together = outputs(infer(proxy, "digits", *FRAMES))
        assert together.tobytes() == np.concatenate(WANTED).tobytes()
        with TailClient(proxy) as tail:
            assert tail.metadata()["name"] == "digits"

        unknown = infer(proxy, "letters", FRAMES[0])
        assert unknown.status_code == 404
        assert unknown.json() == {"error": "there is no model 'letters': this server has 'digits'"}
        damaged = infer(proxy, "digits", *FRAMES[:7], FRAMES[7][:-1])
        assert damaged.status_code == 400
        assert damaged.json()["error"].startswith("frame 7 of 8: ")
        assert infer(proxy, "digits", bytes(30_000)).status_code == 413


def test_tails_that_are_loaded_when_asked_for(proxy: str, tmp_path: Path) -> None:
    names = ["one", "two", "three"]
    folders = [str(write_digits_bundle(tmp_path / name, CODEC, name)) for name in names]

    def held() -> list[str]:
        found = {name: metric(proxy, "waiting_requests", name) for name in names}
        return [name for name, count in found.items() if count is not None]

    with running(deployment(Settings(sources=folders, tails_per_replica=2))):
        assert httpx.get(f"{proxy}/v2").json()["models"] == names
        assert held() == []
        for model, then in (
            ("one", ["one"]),
            ("two", ["one", "two"]),
            ("one", ["one", "two"]),
            ("three", ["one", "three"]),
            ("two", ["two", "three"]),
        ):
            assert outputs(infer(proxy, model, FRAMES[1])).tobytes() == WANTED[1].tobytes()
            assert held() == then
        assert metric(proxy, "run_requests_count", "two") == 2
        assert infer(proxy, "four", FRAMES[0]).status_code == 404


@pytest.mark.usefixtures("proxy")
def test_a_source_that_is_not_as_it_says(tmp_path: Path) -> None:
    folder = write_digits_bundle(tmp_path / "out", CODEC)
    (folder / "tail.tflite").write_bytes(DIGITS.tail + b"x")
    broken = deployment(Settings(sources=str(folder)), max_constructor_retry_count=1)
    with pytest.raises(RuntimeError):
        serve.run(broken, name="tails")
    said = serve.status().applications["tails"].deployments["tails"].message
    serve.delete("tails")
    assert "tail.tflite does not have the SHA-256" in said


def test_settings() -> None:
    typed = Settings(sources="out", threads="2", limits={"run": "16", "delay_s": 0.01})  # type: ignore
    assert (typed.threads, typed.limits) == (2, ServerLimits(run=16, delay_s=0.01))
    for wrong, says in (
        ({}, "sources"),
        ({"sources": "out", "replicas": 2}, "replicas"),
        ({"sources": "out", "tails_per_replica": 0}, "tails_per_replica"),
        ({"sources": "out", "limits": {"run": 0}}, "run is 0: expected at least 1"),
    ):
        with pytest.raises(ValueError, match=says):
            Settings(**wrong)  # type: ignore
    built = app(Settings(sources="out", threads=2, limits=ServerLimits(max_waiting=50)))
    assert isinstance(built, serve.Application)


def test_the_cluster_file() -> None:
    yaml = pytest.importorskip("yaml", reason="needs pyyaml")
    from ray.serve.schema import ServeDeploySchema

    page = (Path(__file__).parents[1] / "docs/scale-out.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(proxy_location.*?)```", page, re.DOTALL)
    (application,) = ServeDeploySchema.model_validate(yaml.safe_load(text)).applications
    module, _, name = application.import_path.partition(":")
    assert (module, name) == (app.__module__, app.__name__)
    assert Settings(**application.args).limits.run == 8
    (tails,) = application.deployments
    assert tails.name == "tails" and tails.autoscaling_config["target_ongoing_requests"] == 16
