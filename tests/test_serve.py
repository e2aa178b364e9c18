"""Tail server and clients: in one process, over loopback, and through Triton's own client."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pysplitcodec
from pysplitcodec import Codebook, Codec
from pysplitcodec.errors import ArgumentError, FeatureError, ModelError, ServerError
from pysplitcodec.native import core
from pysplitcodec.runtime import TFLiteModel
from pysplitcodec.splitting import split

NEEDS = 'needs "pysplitcodec[serve,tflite]"'
httpx = pytest.importorskip("httpx", reason=NEEDS)
pytest.importorskip("starlette", reason=NEEDS)
pytest.importorskip("uvicorn", reason=NEEDS)
pytest.importorskip("ai_edge_litert", reason=NEEDS)

from fake_model import FakeModel  # noqa: E402
from server_process import Served, serving  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from pysplitcodec.serve import (  # noqa: E402
    EdgeClient,
    HttpTransport,
    ServerLimits,
    Service,
    Tail,
    TailClient,
    create_app,
    protocol,
)
from pysplitcodec.serve.server import _listen, serve  # noqa: E402

DATA = Path(os.environ.get("SPLITCODEC_DATA", Path(__file__).parents[1] / "../shared/data"))
DIGITS = Path(pysplitcodec.__file__).parent / "data" / "digits.tflite"
INFER = "/v2/models/tail/infer"
TIMEOUT_S = 60


class SplitModel:
    """A model cut in two, with a codec for what is between and a sample to run."""

    def __init__(self, path: Path, at: int | str, sample: np.ndarray) -> None:
        if not path.exists():
            pytest.skip(f"{path} is missing; set SPLITCODEC_DATA to the folder of test models")
        head, self.tail_bytes = split(path, at)
        self.head, self.tail = TFLiteModel(head), TFLiteModel(self.tail_bytes)
        self.sample = sample
        self.feature = self.head(sample)[0]
        dtype: Any = self.feature.dtype.name
        levels = np.unique(np.linspace(self.feature.min(), self.feature.max(), 4))
        self.codec = Codec(Codebook(levels), "pack", shape=self.feature.shape[1:], dtype=dtype)
        self.frame = self.codec.encode(self.feature[0])
        self.wanted = self.tail(self.codec.decode(self.frame)[np.newaxis])[0]
        self.input, self.output = self.tail.inputs[0].name, self.tail.outputs[0].name


def image(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    random = np.random.default_rng(1)
    if dtype == "float32":
        return random.random(shape, dtype=np.float32)
    return random.integers(-128, 128, shape).astype(dtype)


@pytest.fixture(scope="module")
def digits() -> SplitModel:
    return SplitModel(DIGITS, "bottleneck", image((1, 8, 8, 1), "float32"))


MODELS: dict[str, Callable[[], SplitModel]] = {
    "digits": lambda: SplitModel(DIGITS, "bottleneck", image((1, 8, 8, 1), "float32")),
    **{
        f"resnet8-{kind}-{at}": lambda kind=kind, dtype=dtype, at=at: SplitModel(
            DATA / f"mlperf-tiny-tflite/resnet8_cifar10_{kind}.tflite",
            at,
            image((1, 32, 32, 3), dtype),
        )
        for kind, dtype in (("fp32", "float32"), ("int8", "int8"))
        for at in (1, 3, 5)
    },
}


def local(model: Any, codecs: Any = (), name: str = "tail", **limits: Any) -> TestClient:
    bounds = ServerLimits(**limits)
    return TestClient(create_app(Service([Tail(model, codecs, name, bounds)], limits=bounds)))


def post(client: Any, inputs: dict[str, np.ndarray], url: str = INFER) -> Any:
    message = protocol.encode_request(inputs)
    return client.post(url, content=message.body, headers=message.headers())


def post_json(client: Any, top: Any, url: str = INFER, **headers: str) -> Any:
    return client.post(url, content=json.dumps(top), headers=headers)


def frames(*items: bytes) -> dict[str, np.ndarray]:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return {"frame": array}


def outputs_of(answer: Any) -> dict[str, np.ndarray]:
    assert answer.status_code == 200, answer.text
    json_len = protocol.parse_json_len(answer.headers.get(protocol.JSON_LEN_HEADER))
    return protocol.decode_response(answer.content, json_len).outputs


def assert_refused(answer: Any, status: int, says: str) -> None:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert says in answer.json()["error"]
    assert "Traceback" not in answer.text


# ---------------------------------------------------------------- in one process


def test_health_and_metadata(digits: SplitModel) -> None:
    client = local(digits.tail, [digits.codec], name="digits")
    assert client.get("/v2/health/live").json()["live"] is True
    assert client.get("/v2/health/ready").json()["ready"] is True
    assert client.get("/v2").json() == {
        "name": "pysplitcodec",
        "version": pysplitcodec.__version__,
        "extensions": ["binary_tensor_data"],
        "models": ["digits"],
    }
    for path in ("/v2/models/digits", "/v2/models/digits/versions/1"):
        assert client.get(f"{path}/ready").json() == {"name": "digits", "ready": True}
        assert client.get(path).json() == {
            "name": "digits",
            "versions": ["1"],
            "platform": "tflite",
            "inputs": [
                {"name": "frame", "datatype": "BYTES", "shape": [-1]},
                {"name": digits.input, "datatype": "FP32", "shape": [-1, 4, 4, 4]},
            ],
            "outputs": [{"name": digits.output, "datatype": "FP32", "shape": [-1, 10]}],
            "parameters": {"codec_ids": [f"{digits.codec.id:08x}"], "max_batch": 64},
        }


@pytest.mark.parametrize("name", MODELS)
def test_every_way_in_gives_the_local_result(name: str) -> None:
    model = MODELS[name]()
    client = local(model.tail, [model.codec])
    decoded = model.codec.decode(model.frame)[np.newaxis]
    whole = model.codec.encode(model.feature[0], self_describing=True)
    for inputs in (frames(model.frame), frames(whole), {model.input: decoded}):
        for url in (INFER, "/v2/models/tail/versions/1/infer"):
            found = outputs_of(post(client, inputs, url))
            assert list(found) == [model.output]
            assert found[model.output].tobytes() == model.wanted.tobytes()
            assert found[model.output].shape == model.wanted.shape

    answer = post_json(
        client,
        {
            "id": "7",
            "inputs": [
                {
                    "name": model.input,
                    "datatype": protocol.datatype_of(decoded),
                    "shape": list(decoded.shape),
                    "data": decoded.tolist(),
                }
            ],
        },
    )
    assert answer.headers["content-type"] == "application/json"
    assert outputs_of(answer)[model.output].tobytes() == model.wanted.tobytes()
    assert answer.json()["id"] == "7"
    assert answer.json()["model_name"] == "tail"
    parameters = answer.json()["parameters"]
    assert set(parameters) == {"decode_us", "tail_us"}
    assert all(isinstance(value, float) and value >= 0 for value in parameters.values())


def test_batches(digits: SplitModel) -> None:
    client = local(digits.tail, [digits.codec], max_batch=3)
    features = np.stack([digits.feature[0] * scale for scale in (1, 0, -1)])
    sent = digits.codec.encode_batch(features)
    want = np.concatenate([digits.tail(digits.codec.decode(f)[np.newaxis])[0] for f in sent])
    for inputs in (frames(*sent), {digits.input: digits.codec.decode_batch(sent)}):
        assert outputs_of(post(client, inputs))[digits.output].tobytes() == want.tobytes()
    assert_refused(post(client, frames(*sent, sent[0])), 400, "4 samples: expected 1 to 3")
    assert_refused(post(client, frames()), 400, "0 samples")
    four = np.zeros((4, 4, 4, 4), np.float32)
    assert_refused(post(client, {digits.input: four}), 400, "4 samples")
    assert_refused(post(client, {digits.input: four[:0]}), 400, "0 samples")


@pytest.mark.parametrize("at", range(0, 64, 9))
def test_cut_frames(digits: SplitModel, at: int) -> None:
    client = local(digits.tail, [digits.codec])
    answer = post(client, frames(digits.frame, digits.frame[: min(at, len(digits.frame) - 1)]))
    assert_refused(answer, 400, "frame 1 of 2: ")


def test_bad_frames(digits: SplitModel) -> None:
    client = local(digits.tail, [digits.codec])
    damaged = bytearray(digits.frame)
    damaged[-1] ^= 1
    assert_refused(post(client, frames(bytes(damaged))), 400, "frame 0 of 1: ")
    assert_refused(post(client, frames(b"")), 400, "frame 0 of 1: ")

    others = Codec(Codebook([0, 1]), "pack", shape=digits.codec.shape)
    answer = post(client, frames(others.encode(digits.feature[0])))
    assert_refused(answer, 400, f"made by codec {others.id:08x}: this server knows")
    assert f"{digits.codec.id:08x}" in answer.json()["error"]

    # Self-describing, so no codec is needed, but what they hold must fit.
    bound = post(local(digits.tail), frames(others.encode(digits.feature[0], self_describing=True)))
    assert bound.status_code == 200
    flat = pysplitcodec.encode(np.zeros(64, np.float32), Codebook([0, 1]))
    assert_refused(post(client, frames(flat)), 400, "features of shape (64,)")
    whole = pysplitcodec.encode(np.zeros((4, 4, 4), np.int8), Codebook([0, 1]))
    assert_refused(post(client, frames(whole)), 400, "is for int8 features")


def test_a_frame_cannot_make_the_server_allocate(digits: SplitModel) -> None:
    frame = pysplitcodec.encode(np.zeros(64, np.float32), Codebook([0, 1]), "pack")
    at = frame.index(struct.pack("<I", 64)[:1])
    for dim in range(at, at + 3):
        huge = bytearray(frame)
        huge[dim : dim + 2] = b"\xff\x7f"
        huge[-4:] = struct.pack("<I", core.crc32c(bytes(huge[:-4])))
        assert_refused(post(local(digits.tail), frames(bytes(huge))), 400, "frame 0 of 1: ")


def test_wrong_tensors(digits: SplitModel) -> None:
    client = local(digits.tail, [digits.codec])
    right = np.zeros((1, 4, 4, 4), np.float32)
    assert_refused(post(client, {}), 400, "0 inputs: expected one")
    assert_refused(post(client, {**frames(b""), digits.input: right}), 400, "2 inputs")
    assert_refused(post(client, {"nobody": right}), 400, "no input 'nobody'")
    assert_refused(post(client, {"frame": right}), 400, "no input 'frame'")
    assert_refused(post(client, {digits.input: right.astype(np.int8)}), 400, "INT8: expected FP32")
    for shape in ((4, 4, 4), (64,), (1, 4, 4, 5), (1, 1, 4, 4, 4), ()):
        assert_refused(post(client, {digits.input: np.zeros(shape, np.float32)}), 400, "has shape")
    nested = {"frame": frames(digits.frame)["frame"].reshape(1, 1)}
    assert_refused(post(client, nested), 400, "expected [n]")


def test_wrong_messages(digits: SplitModel) -> None:
    client = local(digits.tail, [digits.codec])
    assert_refused(client.post(INFER), 400, "not JSON")
    assert_refused(client.post(INFER, content=b"\x00\xff"), 400, "not JSON")
    assert_refused(post_json(client, []), 400, "no object")
    assert_refused(
        post_json(client, {}, **{protocol.JSON_LEN_HEADER: "99"}), 400, "body has 2 bytes"
    )
    assert_refused(post_json(client, {}, **{protocol.JSON_LEN_HEADER: "-1"}), 400, "'-1'")
    assert_refused(post_json(client, {}, **{"Content-Encoding": "gzip"}), 415, "'gzip'")
    for kind in ("text/plain", "multipart/form-data; boundary=x"):
        assert_refused(post_json(client, {}, **{"Content-Type": kind}), 415, "application/json")
    message = protocol.encode_request(frames(digits.frame))
    top = json.loads(message.body[: message.json_len])
    text = json.dumps({**top, "outputs": [{"name": "nobody"}]}).encode()
    assert message.json_len is not None
    answer = client.post(
        INFER,
        content=text + message.body[message.json_len :],
        headers={protocol.JSON_LEN_HEADER: str(len(text))},
    )
    assert_refused(answer, 400, "no output 'nobody'")


def test_wrong_places(digits: SplitModel) -> None:
    client = local(digits.tail)
    for path in ("", "/ready", "/versions/1"):
        assert_refused(client.get(f"/v2/models/nobody{path}"), 404, "no model 'nobody'")
    assert_refused(client.post("/v2/models/nobody/infer"), 404, "this server has 'tail'")
    assert_refused(client.post("/v2/models/tail/versions/2/infer"), 404, "no version '2'")
    assert_refused(client.get("/v3"), 404, "Not Found")
    refused = client.get(INFER)
    assert_refused(refused, 405, "Method Not Allowed")
    assert refused.headers["allow"] == "POST"
    assert_refused(client.post("/v2"), 405, "Method Not Allowed")


def test_long_bodies(digits: SplitModel) -> None:
    client = local(digits.tail, [digits.codec], max_body=1000)
    assert outputs_of(post(client, frames(digits.frame)))
    assert_refused(client.post(INFER, content=b" " * 1000), 400, "not JSON")
    assert_refused(client.post(INFER, content=b" " * 1001), 413, "the limit is 1000 bytes")
    chunks = (b" " * 100 for _ in range(11))
    assert_refused(client.post(INFER, content=chunks), 413, "the limit is 1000 bytes")


def test_outputs_by_name_and_form() -> None:
    model = FakeModel(lambda x: [x, np.int8([[1]])], outputs=("a", "b"))
    client = local(model)
    given = {"name": "in0", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2.5]}
    answer = post_json(
        client,
        {"inputs": [given], "outputs": [{"name": "b", "parameters": {"binary_data": True}}]},
    )
    assert list(outputs_of(answer)) == ["b"]
    assert answer.content.endswith(b"\x01")
    answer = post_json(client, {"inputs": [given], "outputs": [{"name": "a"}]})
    assert answer.json()["outputs"] == [
        {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2.5]}
    ]


def test_outputs_that_json_cannot_hold() -> None:
    client = local(FakeModel(lambda x: [x * np.float32(np.nan)]))
    given = {"name": "in0", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    assert_refused(post_json(client, {"inputs": [given]}), 400, "ask for it as binary data")
    found = outputs_of(post(client, {"in0": np.zeros((1, 2), np.float32)}))
    assert np.isnan(found["out"]).all()


def test_uint8_tails_and_tails_without_a_batch_axis() -> None:
    model = FakeModel(lambda x: [x + np.uint8(1)], shape=(2, 3), dtype="uint8")
    codec = Codec(Codebook([0, 255]), "pack", shape=(2, 3), dtype="uint8")
    client = local(model, [codec])
    feature = np.uint8([[0, 255, 0], [0, 0, 0]])
    assert (outputs_of(post(client, frames(codec.encode(feature))))["out"] == feature + 1).all()
    assert client.get("/v2/models/tail").json()["inputs"][1]["shape"] == [2, 3]
    assert_refused(post(client, frames(b"", b"")), 400, "expected 1 to 1")
    assert_refused(post(client, {"in0": np.zeros((4, 3), np.uint8)}), 400, "has shape [4, 3]")


@pytest.mark.parametrize(
    ("error", "says"),
    [(ModelError("secret"), "the tail failed to run"), (RuntimeError("secret"), "internal error")],
)
def test_failing_tails(error: Exception, says: str, caplog: pytest.LogCaptureFixture) -> None:
    def run(array: np.ndarray) -> list[np.ndarray]:
        if array.any():
            raise error
        return [array]

    client = local(FakeModel(run))
    answer = post(client, {"in0": np.ones((1, 2), np.float32)})
    assert_refused(answer, 500, says)
    assert "secret" not in answer.text
    assert "secret" in caplog.text
    assert len(caplog.records) == 1
    assert outputs_of(post(client, {"in0": np.zeros((1, 2), np.float32)}))


def test_errors_are_logged_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    client = local(FakeModel(lambda x: [x]))
    client.post("/v2/models/a%0Ab/infer")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "404" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_tails_that_cannot_be_served(digits: SplitModel) -> None:
    with pytest.raises(ModelError, match="2 inputs"):
        Tail(FakeModel(lambda x: [x], inputs=2))
    with pytest.raises(ModelError, match="several outputs of one name"):
        Tail(FakeModel(lambda x: [x, x], outputs=("a", "a")))
    for name in ("", "a/b", "..", "-x", "a b"):
        with pytest.raises(ArgumentError, match="name is"):
            Tail(digits.tail, name=name)
    with pytest.raises(ArgumentError, match="max_body is 0"):
        ServerLimits(max_body=0)
    for codec in (
        Codec(Codebook([0, 1]), "pack", shape=(4, 4, 5)),
        Codec(Codebook([0, 1]), "pack", shape=(4, 4, 4), dtype="int8"),
    ):
        with pytest.raises(ArgumentError, match=f"codec {codec.id:08x} is for"):
            Tail(digits.tail, [codec])
    Tail(digits.tail, [Codec(Codebook([0, 1]), "pack", shape=(1, 4, 4, 4))])


# ---------------------------------------------------------------- over loopback


@contextlib.contextmanager
def running(folder: Path, model: SplitModel, *options: object) -> Iterator[Served]:
    """A server process with this tail and its codec."""
    (folder / "tail.tflite").write_bytes(model.tail_bytes)
    model.codec.save(folder / "codec.json")
    with serving(folder, folder / "tail.tflite", *options) as served:
        assert served.models == ["tail"]
        yield served


@pytest.fixture(scope="module")
def server(digits: SplitModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("serve"), digits, "--max-body", 100_000) as served:
        yield served.url


def test_client(server: str, digits: SplitModel) -> None:
    with TailClient(server, timeout_s=TIMEOUT_S) as client:
        assert client.ready()
        assert client.model == "tail"
        assert client.metadata()["parameters"]["codec_ids"] == [f"{digits.codec.id:08x}"]
        for reply in (
            client.infer(digits.frame),
            client.infer(memoryview(digits.frame)),
            client.infer([digits.frame]),
            client.infer_tensor(digits.codec.decode(digits.frame)[np.newaxis]),
        ):
            assert reply.outputs[digits.output].tobytes() == digits.wanted.tobytes()
            assert reply.sent_bytes > 64
            assert reply.received_bytes > 40
            assert 0 <= reply.decode_s < reply.roundtrip_s
            assert 0 <= reply.tail_s < reply.roundtrip_s
        two = client.infer([digits.frame, digits.frame]).outputs[digits.output]
        assert two.tobytes() == digits.wanted.tobytes() * 2
        with pytest.raises(ServerError, match="answered 400: frame 1 of 2: "):
            client.infer([digits.frame, digits.frame[:-1]])
        with pytest.raises(ServerError, match=r"answered 413: .* the limit is 100000 bytes"):
            client.infer(bytes(3_000_000))
        assert client.infer(digits.frame).outputs


@pytest.mark.parametrize("name", MODELS)
def test_edge_client(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    with (
        running(tmp_path, model) as served,
        EdgeClient(model.head, model.codec, HttpTransport(served.url)) as edge,
    ):
        reply = edge.run(model.sample)
        assert reply.outputs[model.output].tobytes() == model.wanted.tobytes()
        assert reply.roundtrip_s > reply.decode_s + reply.tail_s > 0
        assert reply.frame_len == len(model.frame)
        assert reply.payload_len == len(model.frame) - 10
        assert reply.head_s > 0 and reply.encode_s > 0


def test_edge_client_checks_its_parts(digits: SplitModel) -> None:
    link = HttpTransport("http://127.0.0.1:9")
    wrong = Codec(Codebook([0, 1]), "pack", shape=(4, 4, 5))
    with pytest.raises(
        ArgumentError, match=r"the codec is for float32 features of shape \(4, 4, 5"
    ):
        EdgeClient(digits.head, wrong, link)
    with pytest.raises(ArgumentError, match="2 outputs"):
        EdgeClient(FakeModel(lambda x: [x, x], outputs=("a", "b")), wrong, link)
    with pytest.raises(FeatureError, match="expected one feature"):
        EdgeClient(digits.head, digits.codec, link).run(np.repeat(digits.sample, 2, axis=0))


def test_many_clients_at_once(server: str, digits: SplitModel) -> None:
    with TailClient(server, "tail", TIMEOUT_S) as client, ThreadPoolExecutor(8) as pool:
        for reply in pool.map(client.infer, [digits.frame] * 64):
            assert reply.outputs[digits.output].tobytes() == digits.wanted.tobytes()


def raw_exchange(url: str, request: bytes) -> bytes:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                answer += chunk
    return answer


def test_chunked_bodies_over_the_wire(server: str, digits: SplitModel) -> None:
    head = (
        f"POST {INFER} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
    )
    message = protocol.encode_request(frames(digits.frame))
    length = f"{protocol.JSON_LEN_HEADER}: {message.json_len}\r\n\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in message.body)
    answer = raw_exchange(server, (head + length).encode() + chunks + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert digits.wanted.tobytes() in answer

    endless = b"1000\r\n" + bytes(0x1000) + b"\r\n"
    answer = raw_exchange(server, (head + length).encode() + endless * 26)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b'{"error":"the request body is too long: the limit is 100000 bytes"}')


def test_declared_length_is_refused_before_the_body_comes(server: str) -> None:
    request = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n"
    answer = raw_exchange(server, request.encode())  # returns, so the server closed
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_client_that_leaves(server: str, digits: SplitModel) -> None:
    host, port = server.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as connection:
        connection.sendall(f"POST {INFER} HTTP/1.1\r\nContent-Length: 9\r\n\r\n1".encode())
    with TailClient(server, timeout_s=TIMEOUT_S) as client:
        assert client.infer(digits.frame).outputs


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_messages_and_stopping(digits: SplitModel, tmp_path: Path, stop: signal.Signals) -> None:
    with (
        running(tmp_path, digits) as (url, _, process, log, _),
        TailClient(url, timeout_s=TIMEOUT_S) as client,
    ):
        with pytest.raises(ServerError, match="frame 0 of 1"):
            client.infer(b"nothing")
        assert client.ready()
        process.send_signal(stop)
        assert process.wait(TIMEOUT_S) == (0 if stop == signal.SIGINT else -stop)
        assert not client.ready()
        with pytest.raises(ServerError, match=f"no server answers at {url}"):
            client.infer(digits.frame)
    messages = log.read_text()
    assert f"serving tail at {url}" in messages
    assert "127.0.0.1 POST '/v2/models/tail/infer': 400 frame 0 of 1: " in messages
    assert "Traceback" not in messages


def test_answers_are_not_delayed() -> None:
    """Accepted sockets have TCP_NODELAY; without it an answer takes 40 ms."""
    with _listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_ports_that_are_taken(digits: SplitModel, tmp_path: Path) -> None:
    (tmp_path / "tail.tflite").write_bytes(digits.tail_bytes)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"cannot listen on 127.0.0.1, port {port}: "):
            serve([tmp_path / "tail.tflite"], port=port)
    with pytest.raises(ArgumentError, match="port is 70000"):
        serve([tmp_path / "tail.tflite"], port=70000)
    with pytest.raises(ModelError, match="cannot read"):
        serve([tmp_path / "missing.tflite"])


# ---------------------------------------------------------------- servers that misbehave


@contextlib.contextmanager
def answered(answer: bytes, model: str | None = "m") -> Iterator[TailClient]:
    """A client whose next request gets `answer`, after which the server closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT_S)

        def work() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                connection.settimeout(TIMEOUT_S)
                connection.recv(65536)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with TailClient(url, model, TIMEOUT_S) as client:
            yield client
        thread.join(TIMEOUT_S)


def http(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "the connection to .* broke"),
        (b"hello\r\n\r\n", "the connection to .* broke"),
        (http(b"abc")[:-1], "the connection to .* broke"),
        (http(b"abc"), "makes no sense: not JSON"),
        (http(b"{}"), "makes no sense: the response has no model_name"),
        (http(b'{"model_name": "m"}', headers="Inference-Header-Content-Length: 99\r\n"), "99"),
        (http(b"<html>", "502 Bad Gateway"), "answered 502: '<html>'"),
        (http(b'{"error": "a\\n b"}', "503 Busy"), "answered 503: a b"),
        (http(b"", "302 Found", "Location: http://127.0.0.1:9/\r\n"), "answered 302: ''"),
        (http(bytes(65 << 20)), "more than 67108864 bytes"),
    ],
)
def test_bad_answers(answer: bytes, says: str) -> None:
    with answered(answer) as client, pytest.raises(ServerError, match=says):
        client.infer(b"x")


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"models": []}', b'{"models": [1]}', b"x"])
def test_servers_that_name_no_model(body: bytes) -> None:
    says = "does not say which models it has|did not answer with a JSON object"
    with answered(http(body), None) as client, pytest.raises(ServerError, match=says):
        client.infer(b"x")


@pytest.mark.parametrize("body", [b"{}", b'{"inputs": [1]}', b'{"inputs": [{"datatype": "FP32"}]}'])
def test_servers_without_plain_inputs(body: bytes) -> None:
    with answered(http(body)) as client, pytest.raises(ServerError, match="no input for plain"):
        client.infer_tensor(np.zeros(1, np.float32))


def test_servers_that_do_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with TailClient(url, "m", timeout_s=0.2) as client:
            with pytest.raises(ServerError, match=f"{url} did not answer within 0.2 s"):
                client.infer(b"x")
            assert not client.ready()


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8000", "ftp://x", "http://", "http://x:99999", "http://x?y", None]
)
def test_urls_that_are_none(url: Any) -> None:
    with pytest.raises(ArgumentError, match="url is"):
        TailClient(url)


def test_timeouts_are_positive() -> None:
    for timeout_s in (0, -1, float("nan")):
        with pytest.raises(ArgumentError, match="timeout_s"):
            TailClient("http://x", timeout_s=timeout_s)


# ---------------------------------------------------------------- Triton's own client


@pytest.fixture
def triton(server: str) -> Iterator[Any]:
    triton_http = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
    client = triton_http.InferenceServerClient(server.removeprefix("http://"))
    yield client
    client.close()


def test_triton_health_and_metadata(triton: Any, digits: SplitModel) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("tail")
    assert triton.is_model_ready("tail", "1")
    assert not triton.is_model_ready("nobody")
    assert triton.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = triton.get_model_metadata("tail")
    assert [entry["name"] for entry in metadata["inputs"]] == ["frame", digits.input]


def test_triton_infers_from_frames(triton: Any, digits: SplitModel) -> None:
    import tritonclient.http as triton_http

    given = triton_http.InferInput("frame", [2], "BYTES")
    given.set_data_from_numpy(frames(digits.frame, digits.frame)["frame"])
    result = triton.infer("tail", [given], request_id="7")
    assert result.as_numpy(digits.output).tobytes() == digits.wanted.tobytes() * 2
    assert result.get_response()["id"] == "7"


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_triton_infers_from_numbers(
    triton: Any, digits: SplitModel, binary_in: bool, binary_out: bool
) -> None:
    import tritonclient.http as triton_http

    decoded = digits.codec.decode(digits.frame)[np.newaxis]
    given = triton_http.InferInput(digits.input, list(decoded.shape), "FP32")
    given.set_data_from_numpy(decoded, binary_data=binary_in)
    wanted = triton_http.InferRequestedOutput(digits.output, binary_data=binary_out)
    result = triton.infer("tail", [given], model_version="1", outputs=[wanted])
    assert result.as_numpy(digits.output).tobytes() == digits.wanted.tobytes()


def test_triton_sees_our_errors(triton: Any) -> None:
    import tritonclient.http as triton_http
    from tritonclient.utils import InferenceServerException

    given = triton_http.InferInput("frame", [1], "BYTES")
    given.set_data_from_numpy(frames(b"no frame")["frame"])
    with pytest.raises(InferenceServerException, match="frame 0 of 1"):
        triton.infer("tail", [given])
    with pytest.raises(InferenceServerException, match="no model 'nobody'"):
        triton.infer("nobody", [given])
