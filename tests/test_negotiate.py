"""The device's side of negotiated serving: heads that are fetched once, and fallbacks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import run

from pysplitcodec.errors import ArgumentError, ServerError

NEEDS = 'needs "pysplitcodec[serve,tflite,safetensors]"'
httpx = pytest.importorskip("httpx", reason=NEEDS)
for name in ("starlette", "uvicorn", "ai_edge_litert", "safetensors"):
    pytest.importorskip(name, reason=NEEDS)

from digits_offers import digits_offers  # noqa: E402
from server_process import serving  # noqa: E402

from pysplitcodec.demo import load_digits  # noqa: E402
from pysplitcodec.plan import (  # noqa: E402
    DeviceProfile,
    Limits,
    Link,
    Weights,
)
from pysplitcodec.plan.packed_model import unpack_tflite  # noqa: E402
from pysplitcodec.runtime import TFLiteModel  # noqa: E402
from pysplitcodec.serve import (  # noqa: E402
    Negotiated,
    Offer,
    negotiate,
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
    with serving(folder.parent, folder) as ready:
        assert ready.models[0] == "digits"
        yield ready.url


def agree(url: str, cache: Path, **options: Any) -> Negotiated:
    given = {"max_accuracy_drop": 0.05, "device": DEVICE, "link": SLOW, "inferences": 1000}
    return negotiate(url, "digits", cache, **{**given, **options})


def locally(offer: Offer, sample: np.ndarray) -> np.ndarray:
    """What head, codec and tail of an offer give, without any server."""
    (feature,) = TFLiteModel(unpack_tflite(offer.head.read_bytes()))(sample)
    decoded = offer.codec.decode(offer.codec.encode(feature[0]))[None]
    (result,) = TFLiteModel(offer.tail)(decoded)
    return result


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
                    assert reply.fallback is None
                    assert reply.payload_len == found.plan["payload_bytes"]
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
        if not self.path.startswith("/v1/"):  # no head
            return self._send(answer, content, len(content))
        server.ranges.append(self.headers["range"])
        if server.tamper:
            content = content[:-1] + bytes([content[-1] ^ 1])
        if server.longer:
            content += b"more"
        whole = len(content)
        if server.cut_at is not None:
            content, server.cut_at = content[: server.cut_at], None
        server.head_bytes += len(content)
        return self._send(answer, content, whole)

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
        assert not reply.frame_len and reply.fallback is not None and "SHA-256" in reply.fallback
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
        assert reply.frame_len and "expected at least 0.02" in str(reply.fallback)
        assert [a.tobytes() for a in reply.outputs.values()] == [
            a.tobytes() for a in wanted.values()
        ]
    with pytest.raises(ServerError, match=r"answered 404: .*those of 'digits'"):
        negotiate(
            url, "other", tmp_path, max_accuracy_drop=0.1, device="gap8", link="lora", inferences=1
        )


def test_a_server_that_leaves(folder: Path, tmp_path: Path) -> None:
    with serving(folder.parent, folder) as ready:
        found = agree(ready.url, tmp_path, fallback=WHOLE)
        alone = agree(ready.url, tmp_path, timeout_s=2.0)
        assert found.run(DIGITS.images[0]).fallback is None
    with found, alone:
        reply = found.run(DIGITS.images[0])
        assert not reply.frame_len and reply.fallback
        assert list(reply.outputs) == [WHOLE.outputs[0].name]
        with pytest.raises(ServerError, match="no answer within 2 s: no server answers"):
            alone.run(DIGITS.images[0])


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
    found = json.loads(run(*args, "--server", url, "--json").stdout)
    assert found["head_received_bytes"] == found["plan"]["head_bytes"]
    assert found["plan"]["split"] == "bottleneck" and len(found["rows"]) == 3
    assert all(row["fallback"] is None and row["payload_bytes"] for row in found["rows"])
    done = run(*args, "--server", url)
    assert "split at bottleneck, 6 bits" in done.stdout
    assert "head: 0 bytes received" in done.stderr
    gone = ("--server", "http://127.0.0.1:9")
    assert "no server answers" in run(*args, *gone, expect=5).stderr
    spare = ("--fallback", tmp_path / "whole.tflite")
    done = run(*args, *gone, *spare, "--json")
    rows = json.loads(done.stdout)["rows"]
    assert all("no server answers" in row["fallback"] for row in rows)
    want = [int(WHOLE(image)[0].argmax()) for image in DIGITS.images[:3]]
    assert [row["top"] for row in rows] == want
    assert "the fallback runs" in done.stderr
