"""Offers in a folder, and a server's answers to devices that negotiate for them."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pysplitcodec import Codebook, Codec
from pysplitcodec.errors import ArgumentError, ModelError

NEEDS = 'needs "pysplitcodec[serve,tflite,safetensors]"'
for name in ("httpx", "starlette", "uvicorn", "ai_edge_litert", "safetensors"):
    pytest.importorskip(name, reason=NEEDS)

from digits_offers import SPLITS, digits_offers  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from pysplitcodec.demo import load_digits  # noqa: E402
from pysplitcodec.plan import (  # noqa: E402
    Choice,
    DeviceProfile,
    Link,
    best,
    choices,
    get_device,
    get_link,
)
from pysplitcodec.runtime import TFLiteModel  # noqa: E402
from pysplitcodec.serve import (  # noqa: E402
    Offer,
    Service,
    Tail,
    create_app,
    load,
    read_offers,
    write_offers,
)

NEGOTIATE = "/v1/split/negotiate"
DIGITS = load_digits()
SLOW, FAST = Link("slow", bits_per_s=1e4), Link("fast", bits_per_s=1e7)


@pytest.fixture(scope="module")
def offers(tmp_path_factory: pytest.TempPathFactory) -> list[Offer]:
    return digits_offers(DIGITS, tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def folder(offers: list[Offer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("offers")
    write_offers(path, "digits", offers)
    return path


@pytest.fixture(scope="module")
def app(folder: Path) -> TestClient:
    return TestClient(create_app(Service(*load([folder]))))


def asked(**changes: Any) -> dict[str, Any]:
    return {
        "model": "digits",
        "max_accuracy_drop": 0.05,
        "device": {"macs_per_s": 1e7},
        "link": {"bits_per_s": 1e6},
        "inferences": 10,
        **changes,
    }


def assert_refused(answer: Any, status: int, says: str) -> None:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert says in answer.json()["error"]


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
    app = TestClient(create_app(Service(*load([folder]), device=server)))
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
        ({"limits": {"payload_bytes": 30}}, "payload_bytes is 48, above 30"),
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
    tails, offers = load([folder])
    app = TestClient(create_app(Service([Tail(plain, (), "mine"), *tails], offers)))
    names = app.get("/v2").json()["models"]
    assert names[0] == "mine" and len(names) == 1 + len(SPLITS)
    assert all(app.get(f"/v2/models/{name}/ready").json()["ready"] for name in names)
    assert_refused(app.get("/v2/models/other"), 404, "this server has 'mine', 'digits-")
    with pytest.raises(ArgumentError, match=r"models are .*: expected one at least, each once"):
        Service(tails, offers * 2)
    with pytest.raises(ArgumentError, match="models are none"):
        Service()


def test_a_codec_that_does_not_fit_its_tail(offers: list[Offer], tmp_path: Path) -> None:
    other = Codec(Codebook([0, 1]), "pack", shape=(5,))
    pattern = replace(offers[0].pattern, feature_bits=1, feature_elements=5)
    write_offers(tmp_path, "digits", [replace(offers[0], pattern=pattern, codec=other)])
    with pytest.raises(ArgumentError, match=r"is for float32 features of shape \(5,\)"):
        load([tmp_path])
