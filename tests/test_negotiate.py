"""Negotiated serving: offers, the server's answers, heads that are fetched once, and fallbacks."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import run

from pysplitcodec import Codebook, Codec
from pysplitcodec.errors import ArgumentError, ModelError, ServerError

NEEDS = 'needs "pysplitcodec[serve,tflite,safetensors]"'
httpx = pytest.importorskip("httpx", reason=NEEDS)
pytest.importorskip("starlette", reason=NEEDS)
pytest.importorskip("uvicorn", reason=NEEDS)
pytest.importorskip("ai_edge_litert", reason=NEEDS)
pytest.importorskip("safetensors", reason=NEEDS)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # newer Starlettes prefer another client than httpx
    from starlette.testclient import TestClient

from digits_offers import SPLITS, digits_offers, serving  # noqa: E402

from pysplitcodec.demo import load_digits  # noqa: E402
from pysplitcodec.plan import (  # noqa: E402
    Choice,
    DeviceProfile,
    Limits,
    Link,
    Weights,
    best,
    choices,
    get_device,
    get_link,
)
from pysplitcodec.plan.packed_model import unpack_tflite  # noqa: E402
from pysplitcodec.runtime import TFLiteModel  # noqa: E402
from pysplitcodec.serve import (  # noqa: E402
    Negotiated,
    Offer,
    create_app,
    negotiate,
    read_offers,
    write_offers,
)

NEGOTIATE = "/v1/split/negotiate"
ROOT = Path(__file__).parents[1]
DIGITS = load_digits()
DEVICE = DeviceProfile("mine", macs_per_s=1e7, ram_bytes=100_000, power_w=1.0)
SLOW, FAST = Link("slow", bits_per_s=1e4), Link("fast", bits_per_s=1e7)


@pytest.fixture(scope="module")
def offers(tmp_path_factory: pytest.TempPathFactory) -> list[Offer]:
    return digits_offers(DIGITS, tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def folder(offers: list[Offer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("offers") / "digits"
    write_offers(path, "digits", offers)
    return path


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with serving(folder) as ready:
        assert ready["models"] == ["digits"]
        yield ready["url"]


@pytest.fixture(scope="module")
def app(folder: Path) -> TestClient:
    return TestClient(create_app(offers=[read_offers(folder)]))


def asked(**changes: Any) -> dict[str, Any]:
    return {
        "model": "digits",
        "max_accuracy_drop": 0.05,
        "device": {"macs_per_s": 1e7},
        "link": {"bits_per_s": 1e6},
        "inferences": 10,
        **changes,
    }


def agree(url: str, cache: Path, **options: Any) -> Negotiated:
    given = {"max_accuracy_drop": 0.05, "device": DEVICE, "link": SLOW, "inferences": 1000}
    return negotiate(url, "digits", cache, **{**given, **options})


def assert_refused(answer: Any, status: int, says: str) -> None:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert says in answer.json()["error"]


def locally(offer: Offer, sample: np.ndarray) -> np.ndarray:
    """What head, codec and tail of an offer give, without any server."""
    (feature,) = TFLiteModel(unpack_tflite(offer.head.read_bytes()))(sample)
    decoded = offer.codec.decode(offer.codec.encode(feature[0]))[None]
    (result,) = TFLiteModel(offer.tail)(decoded)
    return result


# ---------------------------------------------------------------- offers


def test_offers_are_kept(offers: list[Offer], folder: Path) -> None:
    model, found = read_offers(folder)
    assert model == "digits" and len(found) == len(offers)
    for one, given in zip(found, offers):
        assert one.pattern == given.pattern and one.kind == given.kind
        assert one.codec.id == given.codec.id
        for path, plain in ((one.head, given.head), (one.tail, given.tail)):
            assert path.read_bytes() == plain.read_bytes()
            assert path.name == hashlib.sha256(plain.read_bytes()).hexdigest()
    # a tail that two offers share is there once
    files = {one.head.name for one in found} | {one.tail.name for one in found}
    assert {path.name for path in folder.iterdir()} == {*files, "offers.json"}
    assert len({one.tail for one in found}) == len(SPLITS)


def test_offers_that_do_not_go_together(offers: list[Offer], tmp_path: Path) -> None:
    one = offers[0]
    with pytest.raises(ArgumentError, match="kind is 'onnx': expected one of weights, tflite"):
        replace(one, kind="onnx")
    with pytest.raises(ArgumentError, match=r"is for 1024 elements in 3 bits: expected .* in 6"):
        replace(one, codec=offers[1].codec)
    (tmp_path / "tail.bin").write_bytes(b"PK\x03\x04 whatever its name says")
    with pytest.raises(ModelError, match=r"can run any code"):
        replace(one, tail=tmp_path / "tail.bin")
    with pytest.raises(ArgumentError, match="offers are none"):
        write_offers(tmp_path, "digits", [])
    with pytest.raises(ArgumentError, match=r"two offers are for 'block1' and a drop of 0\.02"):
        write_offers(tmp_path, "digits", [one, one])
    with pytest.raises(ArgumentError, match=r"name is '\.\./digits'"):
        write_offers(tmp_path, "../digits", [one])


def test_folders_that_are_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no offers"):
        read_offers(tmp_path)
    index = json.loads((folder / "offers.json").read_text())
    first = index["offers"][0]
    for changed in (
        [],
        {**index, "format": 2},
        {**index, "model": "a/b"},
        {**index, "offers": []},
        {**index, "offers": [{**first, "head": "../../../etc/passwd"}]},
        {**index, "offers": [{**first, "head": "0" * 64}]},
        {**index, "offers": [{**first, "codec": {}}]},
        {**index, "offers": [{**first, "pattern": {**first["pattern"], "drop": "0.1"}}]},
        {**index, "offers": [{**first, "pattern": {**first["pattern"], "head_macs": -1}}]},
        {**index, "offers": [{**first, "kind": ["tflite"]}]},
        {**index, "offers": [first, first]},
    ):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        (copy / "offers.json").write_text(json.dumps(changed))
        with pytest.raises(ModelError):
            read_offers(copy)


@pytest.mark.parametrize("part", ["head", "tail"])
def test_a_changed_file_is_not_served(folder: Path, tmp_path: Path, part: str) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    index = json.loads((folder / "offers.json").read_text())
    file = tmp_path / "copy" / index["offers"][0][part]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelError, match="does not have the SHA-256"):
        read_offers(tmp_path / "copy")


# ---------------------------------------------------------------- the server's answers


def expected(offers: list[Offer], drop: float, device: Any, link: Any, **options: Any) -> Choice:
    given = [
        replace(one.pattern.candidate, head_bytes=one.head.stat().st_size)
        for one in offers
        if one.pattern.drop == drop
    ]
    return best(choices(given, device, link, **options))


@pytest.mark.parametrize("drop", [0.02, 0.1, 0.2, 1])
@pytest.mark.parametrize("link", [SLOW, FAST])
@pytest.mark.parametrize("inferences", [1, 10_000])
def test_the_plan_is_the_best(
    app: TestClient, offers: list[Offer], drop: float, link: Link, inferences: float
) -> None:
    """As `choices` has it, of the largest drop that is not above what may be lost."""
    answer = app.post(
        NEGOTIATE,
        json=asked(
            max_accuracy_drop=drop, link={"bits_per_s": link.bits_per_s}, inferences=inferences
        ),
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    level = 0.02 if drop < 0.2 else 0.2
    device = DeviceProfile("d", macs_per_s=1e7)
    want = expected(offers, level, device, link, inferences=inferences)
    plan = found["plan"]
    assert plan["split"] == want.candidate.name and plan["drop"] == level
    assert plan["latency_s"] == pytest.approx(want.cost.latency_s)
    parts = ("compute_s", "codec_s", "link_s", "server_s", "ship_s")
    assert sum(plan[part] for part in parts) == pytest.approx(plan["latency_s"])
    assert plan["energy_j"] is None  # no power was given
    assert found["runner_up"]["split"] == (set(SPLITS) - {plan["split"]}).pop()
    assert found["runner_up"]["objective"] >= plan["objective"]
    (offer,) = (o for o in offers if o.pattern.split == plan["split"] and o.pattern.drop == level)
    data = offer.head.read_bytes()
    assert found["head"] == {
        "url": f"/v1/split/heads/{hashlib.sha256(data).hexdigest()}",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "kind": "tflite",
    }
    assert Codec.from_dict(found["codec"]).id == offer.codec.id
    assert found["tail"] in app.get("/v2").json()["models"]
    assert f"{offer.codec.id:08x}" in json.dumps(app.get(f"/v2/models/{found['tail']}").json())


def test_the_best_depends_on_the_request(app: TestClient) -> None:
    def split(**changes: Any) -> str:
        return app.post(NEGOTIATE, json=asked(**changes)).json()["plan"]["split"]

    assert split(link={"bits_per_s": 1e4}, inferences=10_000) == "bottleneck"  # small features
    assert split(link={"bits_per_s": 1e7}) == "block1"  # few MACs on the device
    assert split(link={"bits_per_s": 1e4}, inferences=1) == "block1"  # a small head
    powers = {"macs_per_s": 1e7, "power_w": 1e-6}, {"bits_per_s": 1e7, "transmit_power_w": 50.0}
    only_joules = {"per_s": 0, "per_j": 1}
    energy = asked(device=powers[0], link=powers[1], weights=only_joules, inferences=1e6)
    assert app.post(NEGOTIATE, json=energy).json()["plan"]["split"] == "bottleneck"


def test_shipped_profiles_and_the_servers_own(folder: Path, offers: list[Offer]) -> None:
    server = get_device("qpart-server")
    app = TestClient(create_app(offers=[read_offers(folder)], device=server))
    found = app.post(NEGOTIATE, json=asked(device="qpart", link="qpart")).json()["plan"]
    want = expected(
        offers, 0.02, get_device("qpart"), get_link("qpart"), server=server, inferences=10
    )
    assert found["latency_s"] == pytest.approx(want.cost.latency_s)
    assert found["server_s"] == pytest.approx(want.cost.server_s) and found["server_s"] > 0


def test_unknown_models(app: TestClient) -> None:
    answer = app.post(NEGOTIATE, json=asked(model="resnet"))
    assert_refused(answer, 404, "no offers of 'resnet': this server has those of 'digits'")
    assert_refused(app.get("/v1/split/heads/" + "0" * 64), 404, "there is no head")
    assert_refused(app.get("/v1/split/heads/..%2Foffers.json"), 404, "")
    assert_refused(app.get(NEGOTIATE), 405, "")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"max_accuracy_drop": 0.01}, "max_accuracy_drop is 0.01: expected at least 0.02"),
        ({"device": {"macs_per_s": 1e7, "ram_bytes": 100}}, "nearest is"),
        ({"limits": {"latency_s": 1e-6}}, "latency_s is"),
        ({"limits": {"payload_bytes": 30}}, "payload_bytes is 768, above 30"),
        (
            {"limits": {"payload_bytes": 30}},
            "with max_accuracy_drop 0.2, bottleneck would keep them",
        ),
    ],
)
def test_budgets_that_cannot_be_kept(app: TestClient, changes: Any, says: str) -> None:
    assert_refused(app.post(NEGOTIATE, json=asked(**changes)), 409, says)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"device": {}}, "has no macs_per_s"),
        ({"device": {"macs_per_s": -1e9}}, "macs_per_s is -1000000000.0: expected a number above"),
        ({"device": {"macs_per_s": "fast"}}, "expected a number above 0"),
        ({"device": {"macs_per_s": 1e9, "price": 1}}, "has price"),
        ({"device": "cray"}, "device is 'cray': expected one of raspberry-pi-4"),
        ({"device": 7}, "device is 7: expected a name or an object"),
        ({"link": {}}, "lacks bits_per_s"),
        ({"link": {"bits_per_s": -5}}, "bits_per_s is -5"),
        ({"link": {"bits_per_s": True}}, "bits_per_s is True"),
        ({"link": {"bits_per_s": 1e6, "loss": 1}}, "loss is 1"),
        ({"link": {"bits_per_s": 1e300}}, "link: bits_per_s is 1e+300: expected 0, or 1e-18"),
        ({"link": {"bits_per_s": 10**400}}, "expected 0, or 1e-18 to 1e+18 in SI units"),
        ({"link": {"bits_per_s": 1e-300}}, "in SI units"),
        ({"link": []}, "expected a name or an object"),
        ({"inferences": 0}, "inferences is 0"),
        ({"inferences": "1"}, "inferences is '1'"),
        ({"max_accuracy_drop": -0.1}, "max_accuracy_drop is -0.1"),
        ({"max_accuracy_drop": 5}, "expected a share"),
        ({"max_accuracy_drop": None}, "max_accuracy_drop is None"),
        ({"model": ["digits"]}, "expected a name"),
        ({"weights": {"per_s": 0}}, "weights are all 0"),
        ({"weights": {"omega": 1}}, "weights has omega"),
        ({"weights": {"per_j": 1}}, "energy_j has a weight of 1 and is not known"),
        ({"limits": {"latency_s": -1}}, "latency_s is -1"),
        ({"limits": [1]}, "limits is [1]: expected an object"),
        ({"what": 1}, "the request has what"),
    ],
)
def test_requests_that_make_no_sense(app: TestClient, changes: Any, says: str) -> None:
    assert_refused(app.post(NEGOTIATE, content=json.dumps(asked(**changes))), 400, says)


def test_missing_figures(app: TestClient) -> None:
    for name in asked():
        without = {key: value for key, value in asked().items() if key != name}
        assert_refused(app.post(NEGOTIATE, json=without), 400, f"lacks {name}")


def test_bodies_that_are_none(app: TestClient) -> None:
    for body in (b"", b"{", b"[]", b"\xff", b'{"model": NaN}', b"[" * 60_000, b'{"model":' * 7000):
        answer = app.post(NEGOTIATE, content=body)
        assert_refused(answer, 400, "")
        assert len(answer.json()["error"]) <= 1000
    assert_refused(app.post(NEGOTIATE, content=b" " * 70_000), 413, "the limit is 65536 bytes")
    chunks = (b" " * 7_000 for _ in range(10))
    assert_refused(app.post(NEGOTIATE, content=chunks), 413, "the limit is 65536 bytes")
    long = asked(device="x" * 60_000)
    assert len(app.post(NEGOTIATE, json=long).json()["error"]) <= 1000
    assert_refused(
        app.post(NEGOTIATE, json=asked(), headers={"Content-Encoding": "gzip"}), 415, "gzip"
    )


def test_heads_and_their_ranges(app: TestClient, folder: Path) -> None:
    head = read_offers(folder).offers[0].head
    data, path, etag = head.read_bytes(), f"/v1/split/heads/{head.name}", f'"{head.name}"'
    whole = app.get(path)
    assert whole.status_code == 200 and whole.content == data and whole.headers["etag"] == etag
    assert app.head(path).headers["content-length"] == str(len(data))
    for known in (etag, f"W/{etag}", f'"other", {etag}'):
        same = app.get(path, headers={"If-None-Match": known})
        assert same.status_code == 304 and same.content == b"" and same.headers["etag"] == etag
    assert app.get(path, headers={"If-None-Match": '"other"'}).content == data

    def part(asked: str, **headers: str) -> Any:
        return app.get(path, headers={"Range": asked, **headers})

    size = len(data)
    for text, first, last in (
        ("bytes=100-", 100, size - 1),
        ("bytes=0-0", 0, 0),
        ("bytes=100-99999999", 100, size - 1),
        ("bytes=-7", size - 7, size - 1),
    ):
        answer = part(text, **{"If-Range": etag})
        assert answer.status_code == 206 and answer.content == data[first : last + 1]
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"
    assert part("bytes=100-", **{"If-Range": '"other"'}).content == data
    for text in (f"bytes={size}-", "bytes=99999999-", "bytes=-0"):
        answer = part(text)
        assert_refused(answer, 416, f"the head has {size} bytes")
        assert answer.headers["content-range"] == f"bytes */{size}"
    for text in ("bytes=5-2", "bytes=1-2,4-5", "bytes=", "bytes=x-", "lines=1-", "bytes=-"):
        assert_refused(part(text), 400, "expected bytes=FIRST-LAST")


def test_a_tail_beside_offers(folder: Path) -> None:
    plain = TFLiteModel(DIGITS.tail)
    app = TestClient(create_app(plain, name="mine", offers=[read_offers(folder)]))
    names = app.get("/v2").json()["models"]
    assert names[0] == "mine" and len(names) == 1 + len(SPLITS)
    assert all(app.get(f"/v2/models/{name}/ready").json()["ready"] for name in names)
    assert_refused(app.get("/v2/models/other"), 404, "this server has 'mine', 'digits-")
    with pytest.raises(ArgumentError, match=r"models are .*: expected one at least, and each once"):
        create_app(offers=[read_offers(folder)] * 2)
    with pytest.raises(ArgumentError, match="models are none"):
        create_app()


# ---------------------------------------------------------------- the device


def test_the_whole_loop(url: str, offers: list[Offer], tmp_path: Path) -> None:
    for drop, link in ((0.05, SLOW), (0.3, SLOW), (0.05, FAST)):
        received = []
        for _ in range(2):
            with agree(url, tmp_path, max_accuracy_drop=drop, link=link) as found:
                received.append(found.received_bytes)
                assert found.plan is not None
                (offer,) = (
                    one
                    for one in offers
                    if (one.pattern.split, one.pattern.drop)
                    == (found.plan["split"], found.plan["drop"])
                )
                for sample in DIGITS.images[:5]:
                    reply = found.run(sample)
                    (output,) = reply.outputs.values()
                    assert output.tobytes() == locally(offer, sample).tobytes()
                    assert reply.fallback is None and reply.edge is not None
                    assert reply.edge.payload_len == found.plan["payload_bytes"]
        assert received == [offer.head.stat().st_size, 0]
    kept = [path.name for path in tmp_path.iterdir() if path.suffix]
    assert kept == ["digits.plan.json"] and len(list(tmp_path.iterdir())) == 4


def test_limits_and_weights_are_sent(url: str, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"answered 409: .*payload_bytes is 48, above 40"):
        agree(url, tmp_path, limits=Limits(payload_bytes=40))
    with pytest.raises(ServerError, match=r"answered 400: energy_j has a weight of 2"):
        agree(url, tmp_path, weights=Weights(per_j=2))
    with agree(url, tmp_path, device="raspberry-pi-4", link="lora") as found:
        assert found.plan is not None and found.plan["energy_j"] is None


class Between(ThreadingHTTPServer):
    """Hands requests on to a server, and does to the answers what a test asks for."""

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = url
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.cut_at: int | None = None  # bytes of a head, after which the connection breaks
        self.tamper = self.longer = False
        self.announce: dict[str, Any] = {}
        self.ranges: list[str | None] = []
        self.head_bytes = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients leave in the middle on purpose."""


class _Handler(BaseHTTPRequestHandler):
    server: Between

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        kept = ("content-type", "inference-header-content-length")
        headers = {k: v for k, v in self.headers.items() if k.lower() in kept}
        answer = httpx.post(self.server.target + self.path, content=body, headers=headers)
        content = answer.content
        if self.path == NEGOTIATE and answer.status_code == 200:
            found = answer.json()
            found["head"].update(self.server.announce)
            content = json.dumps(found).encode()
        self._send(answer, content, len(content))

    def do_GET(self) -> None:
        asked = {k: v for k, v in self.headers.items() if k.lower() in ("range", "if-range")}
        answer = httpx.get(self.server.target + self.path, headers=asked)
        content, server = answer.content, self.server
        server.ranges.append(self.headers["range"])
        if server.tamper:
            content = content[:-1] + bytes([content[-1] ^ 1])
        if server.longer:
            content += b"more"
        whole = len(content)
        if server.cut_at is not None:
            content, server.cut_at = content[: server.cut_at], None
        server.head_bytes += len(content)
        self._send(answer, content, whole)

    def _send(self, answer: Any, content: bytes, length: int) -> None:
        self.send_response(answer.status_code)
        for name in ("content-type", "inference-header-content-length", "content-range", "etag"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("content-length", str(length))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def between(url: str) -> Iterator[Between]:
    with Between(url) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_cut_download_goes_on(between: Between, tmp_path: Path) -> None:
    between.cut_at = 1500
    with pytest.raises(ServerError, match=r"the connection to .* broke"):
        agree(between.url, tmp_path)
    (part,) = tmp_path.iterdir()
    assert part.suffix == ".part" and part.stat().st_size == 1500
    with agree(between.url, tmp_path) as found:
        assert found.plan is not None
        size = found.plan["head_bytes"]
        assert found.received_bytes == size - 1500
        assert found.run(DIGITS.images[0]).fallback is None
    assert between.ranges == [None, "bytes=1500-"] and between.head_bytes == size
    assert not list(tmp_path.glob("*.part"))


def test_a_part_of_something_else_is_replaced(between: Between, tmp_path: Path) -> None:
    between.cut_at = 1500
    with pytest.raises(ServerError):
        agree(between.url, tmp_path)
    (part,) = tmp_path.iterdir()
    part.write_bytes(b"?" * 1500)
    with pytest.raises(ServerError, match="of SHA-256"):
        agree(between.url, tmp_path)
    assert not list(tmp_path.iterdir())
    part.write_bytes(b"?" * 100_000)  # longer than the head
    with agree(between.url, tmp_path) as found:
        assert found.plan is not None and found.received_bytes == found.plan["head_bytes"]


def test_a_damaged_cache_is_fetched_again(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with agree(url, tmp_path) as found:
        size = found.received_bytes
    (head,) = (path for path in tmp_path.iterdir() if not path.suffix)
    head.write_bytes(head.read_bytes()[:-1] + b"?")
    with agree(url, tmp_path) as found:
        assert found.received_bytes == size
    assert "is damaged: it is fetched again" in caplog.text


WHOLE = TFLiteModel(DIGITS.model)


def test_another_head_than_was_said(
    between: Between, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    between.tamper = True
    with pytest.raises(ServerError, match=r"sent \d+ bytes of SHA-256 [0-9a-f]{64}: expected"):
        agree(between.url, tmp_path)
    assert not list(tmp_path.iterdir())
    with agree(between.url, tmp_path, fallback=WHOLE) as found:
        reply = found.run(DIGITS.images[0])
        (output,) = reply.outputs.values()
        assert output.tobytes() == WHOLE(DIGITS.images[0])[0].tobytes()
        assert reply.edge is None and reply.fallback is not None and "SHA-256" in reply.fallback
    assert "the fallback runs" in caplog.text


def test_a_head_longer_than_announced(between: Between, tmp_path: Path) -> None:
    between.longer = True
    with pytest.raises(ServerError, match=r"has more than the \d+ bytes announced"):
        agree(between.url, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "announced",
    [
        {"bytes": 0},
        {"bytes": -1},
        {"bytes": 1 << 40},
        {"bytes": "9"},
        {"sha256": "../../etc/passwd"},
        {"sha256": None},
        {"kind": "pickle"},
        {"url": "http://other.example/head"},
        {"url": 5},
    ],
)
def test_plans_that_make_no_sense(
    between: Between, tmp_path: Path, announced: dict[str, Any]
) -> None:
    between.announce = announced
    with pytest.raises(ServerError, match="sent a plan that makes no sense"):
        agree(between.url, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_head_of_another_kind(between: Between, tmp_path: Path) -> None:
    """The hash is right, but the device has no code for it."""
    between.announce = {"kind": "weights"}
    with pytest.raises(ArgumentError, match="is weights for a PyTorch module: expected head_for"):
        agree(between.url, tmp_path)


def test_fallbacks(url: str, tmp_path: Path) -> None:
    sample = DIGITS.images[0]
    with pytest.raises(ServerError, match=r"no server answers at http://127.0.0.1:9"):
        agree("http://127.0.0.1:9", tmp_path)
    with agree("http://127.0.0.1:9", tmp_path, fallback=WHOLE) as found:
        assert found.plan is None and "no server answers" in str(found.run(sample).fallback)
    with pytest.raises(ServerError, match=r"answered 409: .*; and .* has no earlier plan"):
        agree(url, tmp_path, max_accuracy_drop=0, fallback="earlier plan")
    with agree(url, tmp_path, max_accuracy_drop=0.3) as found:
        wanted = found.run(sample).outputs
        plan = found.plan
    with agree(url, tmp_path, max_accuracy_drop=0, fallback="earlier plan") as found:
        reply = found.run(sample)
        assert found.plan == plan and found.received_bytes == 0
        assert reply.edge is not None and "expected at least 0.02" in str(reply.fallback)
        assert [a.tobytes() for a in reply.outputs.values()] == [
            a.tobytes() for a in wanted.values()
        ]
    with pytest.raises(ServerError, match=r"answered 404: .*those of 'digits'"):
        negotiate(
            url, "other", tmp_path, max_accuracy_drop=0.1, device="gap8", link="lora", inferences=1
        )


def test_a_server_that_leaves(folder: Path, tmp_path: Path) -> None:
    with serving(folder) as ready:
        found = agree(ready["url"], tmp_path, fallback=WHOLE)
        alone = agree(ready["url"], tmp_path)
        assert found.run(DIGITS.images[0]).fallback is None
    with found, alone:
        reply = found.run(DIGITS.images[0])
        assert reply.edge is None and reply.fallback
        assert list(reply.outputs) == [WHOLE.outputs[0].name]
        with pytest.raises(ServerError):
            alone.run(DIGITS.images[0])


# ---------------------------------------------------------------- a head whose code the device has


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Any]:
    """A module, the folder of its offers, and samples; by the page's own example."""
    torch = pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("onnxscript", reason="needs the extra 'export'")
    pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
    path = tmp_path_factory.mktemp("mlp")
    torch.manual_seed(0)
    nn = torch.nn
    centres = torch.randn(10, 20)
    targets = torch.arange(600) % 10
    inputs = centres[targets] + 0.9 * torch.randn(600, 20)
    model = nn.Sequential(
        nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found: dict[str, Any] = {"model": model, "inputs": inputs, "targets": targets, "out": path}
    exec(blocks()[0], found)
    return model, path / "offers", inputs


def blocks() -> list[str]:
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    section = text[text.index("## Negotiating") :]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def test_a_torch_head(mlp: tuple[Any, Path, Any], tmp_path: Path) -> None:
    import torch

    from pysplitcodec.plan.packed_weights import unpack_weights
    from pysplitcodec.runtime import OnnxModel
    from pysplitcodec.splitting import split

    model, folder, inputs = mlp
    _, offers = read_offers(folder)
    with serving(folder, "--device", "qpart-server") as ready:
        found: dict[str, Any] = {"model": model, "inputs": inputs, "cache": tmp_path}
        exec(blocks()[1].replace("http://127.0.0.1:8000", ready["url"]), found)
        plan, reply = found["negotiated"].plan, found["reply"]
        assert found["negotiated"].received_bytes == plan["head_bytes"]
        (offer,) = (
            o for o in offers if (o.pattern.split, o.pattern.drop) == (plan["split"], plan["drop"])
        )
        head = split(model, plan["split"], example=inputs[:1]).head
        state = unpack_weights(offer.head.read_bytes())
        plain = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        head.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
        with torch.no_grad():
            feature = head(inputs[:1]).numpy()
        model.load_state_dict(plain)
        decoded = offer.codec.decode(offer.codec.encode(feature.reshape(offer.codec.shape)))
        wanted = OnnxModel(offer.tail)(decoded[None])[0]
        (output,) = reply.outputs.values()
        assert output.tobytes() == wanted.tobytes()
        options: Any = {
            "max_accuracy_drop": plan["drop"],
            "device": "qpart",
            "link": "1-mbit",
            "inferences": 1000,
        }
        with pytest.raises(ArgumentError, match="expected head_for"):
            negotiate(ready["url"], "mlp", tmp_path, **options)
        with pytest.raises(ModelError, match="are of another head"):
            negotiate(
                ready["url"], "mlp", tmp_path, head_for=lambda _: torch.nn.Linear(2, 2), **options
            )
        with negotiate(
            ready["url"], "mlp", tmp_path, head_for=found["head_for"], **options
        ) as again:
            assert again.received_bytes == 0


def test_a_codec_that_does_not_fit_its_tail(offers: list[Offer], tmp_path: Path) -> None:
    other = Codec(Codebook([0, 1]), "pack", shape=(5,))
    pattern = replace(offers[0].pattern, feature_bits=1, feature_elements=5)
    write_offers(tmp_path, "digits", [replace(offers[0], pattern=pattern, codec=other)])
    with pytest.raises(ArgumentError, match=r"is for float32 features of shape \(5,\)"):
        create_app(offers=[read_offers(tmp_path)])


# ---------------------------------------------------------------- the command line


def test_the_command(url: str, tmp_path: Path) -> None:
    np.save(tmp_path / "inputs.npy", DIGITS.images[:3, 0])
    (tmp_path / "whole.tflite").write_bytes(DIGITS.model)
    (tmp_path / "mine.toml").write_text(
        '[mine]\nmacs_per_s = 1e7\nsources = { macs_per_s = "measured" }\n'
    )
    args: list[object] = ["negotiate", "digits", "--max-drop", "0.05", "--link", "1e4"]
    args += ["--device", tmp_path / "mine.toml", "--cache", tmp_path / "cache"]
    args += ["--input", tmp_path / "inputs.npy", "--inferences", "1000"]
    for received in (True, False):
        found = json.loads(run(*args, "--server", url, "--json").stdout)
        assert (found["head_received_bytes"] > 0) == received
        assert found["plan"]["split"] == "bottleneck" and len(found["rows"]) == 3
        assert all(row["fallback"] is None and row["payload_bytes"] for row in found["rows"])
    assert "split at bottleneck, 6 bits" in run(*args, "--server", url).stdout
    gone = ("--server", "http://127.0.0.1:9")
    assert "no server answers" in run(*args, *gone, expect=5).stderr
    spare = ("--fallback", tmp_path / "whole.tflite")
    done = run(*args, *gone, *spare, "--json")
    rows = json.loads(done.stdout)["rows"]
    assert all("no server answers" in row["fallback"] for row in rows)
    want = [int(WHOLE(image)[0].argmax()) for image in DIGITS.images[:3]]
    assert [row["top"] for row in rows] == want
    assert "the fallback runs" in done.stderr
