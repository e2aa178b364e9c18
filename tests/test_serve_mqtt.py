"""Frames through a real MQTT broker, which refuses, is killed, and comes back."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pysplitcodec.errors import ArgumentError, ServerError

NEEDS = 'needs "pysplitcodec[serve,mqtt]"'
pytest.importorskip("prometheus_client", reason=NEEDS)
paho = pytest.importorskip("paho.mqtt.client", reason=NEEDS)

from broker import free_port, mosquitto  # noqa: E402
from link_ends import TIMEOUT_S, Gate, Inbox, frame_of, running, service_of, until  # noqa: E402

from pysplitcodec.serve import Service  # noqa: E402
from pysplitcodec.serve.messages import FrameReply, FrameRequest  # noqa: E402
from pysplitcodec.serve.mqtt import Broker, properties  # noqa: E402
from pysplitcodec.serve.mqtt_link import MqttTransport  # noqa: E402
from pysplitcodec.serve.mqtt_server import serve_mqtt  # noqa: E402
from pysplitcodec.serve.tokens import Tokens, add_token  # noqa: E402


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    found = free_port()
    with mosquitto(tmp_path_factory.mktemp("mosquitto"), found):
        yield found


@pytest.fixture
def url(port: int, request: pytest.FixtureRequest) -> str:
    """Each test has its own topics."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return f"mqtt://127.0.0.1:{port}/tests/{name}"


@contextlib.contextmanager
def behind(
    service: Service, url: str, password: str | None = None, ca: Path | None = None
) -> Iterator[None]:
    with running(lambda: serve_mqtt(service, Broker.parse(url), password, ca)):
        yield


@contextlib.contextmanager
def opened(url: str, **options: Any) -> Iterator[tuple[MqttTransport, Inbox]]:
    transport, inbox = MqttTransport(url, timeout_s=TIMEOUT_S, **options), Inbox()
    transport.open(*inbox.callbacks)
    try:
        yield transport, inbox
    finally:
        transport.close()


def answered(transport: MqttTransport, inbox: Inbox, id: int) -> FrameReply:
    """The answer, sent for again while no server is there yet."""
    for _ in range(TIMEOUT_S * 20):
        transport.send(FrameRequest(id, frame_of(0.5, 2)))
        reply = inbox.reply()
        if reply.status != 503:
            return reply
        threading.Event().wait(0.05)
    raise AssertionError("no server came")


def test_a_frame_is_answered(url: str) -> None:
    with behind(service_of(), url), opened(url) as (transport, inbox):
        reply = answered(transport, inbox, 9)
        assert (reply.id, reply.status) == (9, 200)
        np.testing.assert_array_equal(reply.outputs["out"], np.float32([[2.5]]))


def test_replies_come_in_the_order_in_which_they_are_done(url: str) -> None:
    slow, fast = Gate(is_open=False), Gate()
    with behind(service_of(fast, slow), url), opened(url) as (transport, inbox):
        answered(transport, inbox, 1)
        transport.send(FrameRequest(2, frame_of(2, 2), "tail1", TIMEOUT_S))
        transport.send(FrameRequest(3, frame_of(2, 0), "tail0"))
        assert inbox.reply().id == 3
        slow.open.set()
        assert inbox.reply().id == 2


def test_what_is_sent_again_on_another_connection_is_not_run_again(url: str) -> None:
    gate = Gate()
    with behind(service_of(gate), url), opened(url) as (transport, inbox):
        answered(transport, inbox, 5)
        transport.open(*inbox.callbacks)
        transport.send(FrameRequest(5, frame_of(0.5, 2)))
        assert inbox.reply().outputs["out"] == 2.5
    assert gate.runs == 1


def test_without_a_server_the_client_is_told_at_once(url: str) -> None:
    with opened(url) as (transport, inbox):
        transport.send(FrameRequest(1, frame_of(2, 2)))
        reply = inbox.reply()
    assert (reply.id, reply.status, reply.retry_after_s) == (1, 503, 1)
    assert "no server is at the broker" in reply.error


def test_servers_share_the_load(url: str) -> None:
    gates = Gate(), Gate()
    with contextlib.ExitStack() as stack:
        for gate in gates:
            stack.enter_context(behind(service_of(gate), url))
        transport, inbox = stack.enter_context(opened(url))
        id = 0
        while min(gate.runs for gate in gates) < 3:
            id += 1
            assert answered(transport, inbox, id).status == 200
            assert id < 10_000
    assert sum(gate.runs for gate in gates) == id  # each request went to one of them


def test_requests_that_will_not_do_are_refused_alone(url: str) -> None:
    with behind(service_of(max_body=1000), url), opened(url) as (transport, inbox):
        answered(transport, inbox, 1)
        for request, status in (
            (FrameRequest(2, frame_of(2, 2), "nobody"), 404),
            (FrameRequest(3, b"no frame"), 400),
            (FrameRequest(4, bytes(1001)), 413),
        ):
            transport.send(request)
            reply = inbox.reply()
            assert (reply.id, reply.status) == (request.id, status)


@contextlib.contextmanager
def raw(port: int) -> Iterator[tuple[Any, queue.Queue[Any]]]:
    """A client of the broker that publishes what it likes, and gets what is published elsewhere."""
    client, came = (
        paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5),
        queue.Queue(),
    )
    client.on_message = lambda _client, _userdata, message: came.put(message)
    subscribed = threading.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.subscribe("#", qos=1)
    assert subscribed.wait(TIMEOUT_S)
    yield client, came
    client.disconnect()


def test_a_server_writes_nowhere_but_to_its_clients(port: int, url: str) -> None:
    prefix = Broker.parse(url).prefix
    service = service_of()
    message = FrameRequest(7, frame_of(2, 2)).pack()
    with behind(service, url), opened(url) as (transport, inbox), raw(port) as (client, came):
        answered(transport, inbox, 1)
        for topic in (
            "door/open",
            f"{prefix}/request",
            f"{prefix}/replyx",
            f"{prefix}/reply/" + "x" * 300,
            None,
        ):
            about = {} if topic is None else {"ResponseTopic": topic}
            client.publish(
                f"{prefix}/request", message, 1, properties=properties("publish", **about)
            )
        good = properties("publish", ResponseTopic=f"{prefix}/reply/me")
        client.publish(f"{prefix}/request", message, 1, properties=good)
        topics = set()
        while f"{prefix}/reply/me" not in topics:
            topics.add(came.get(timeout=TIMEOUT_S).topic)
    # Beside what was sent here there is the answer to the first request of all, at a random topic.
    elsewhere = {topic for topic in topics if not topic.startswith(f"{prefix}/reply/")}
    assert elsewhere <= {f"{prefix}/request"}
    assert not any("xxx" in topic for topic in topics)
    assert b'splitcodec_requests_total{model="",status="400"} 5.0' in service.metrics.text()


def test_what_is_no_request_is_refused_under_its_correlation(port: int, url: str) -> None:
    prefix = Broker.parse(url).prefix
    with behind(service_of(), url), opened(url) as (transport, inbox), raw(port) as (client, came):
        answered(transport, inbox, 1)
        about = properties(
            "publish", ResponseTopic=f"{prefix}/reply/me", CorrelationData=b"\0" * 7 + b"\x05"
        )
        client.publish(f"{prefix}/request", b"nonsense", 1, properties=about)
        while True:
            message = came.get(timeout=TIMEOUT_S)
            if message.topic == f"{prefix}/reply/me":
                break
    reply = FrameReply.read(message.payload)
    assert (reply.id, reply.status) == (0, 400)
    assert message.properties.CorrelationData == b"\0" * 7 + b"\x05"


def test_what_others_write_to_a_client_is_passed_over(port: int, url: str) -> None:
    with behind(service_of(), url), opened(url) as (transport, inbox), raw(port) as (client, came):
        answered(transport, inbox, 1)
        while True:
            topic = came.get(timeout=TIMEOUT_S).topic
            if "/reply/" in topic:
                break
        for nonsense in (b"", b"nonsense", b"\x02" * 12):
            client.publish(topic, nonsense, 1)
        assert answered(transport, inbox, 2).id == 2


def test_tokens(url: str, tmp_path: Path) -> None:
    token = add_token(tmp_path / "tokens.toml", "kitchen")
    gate = Gate()
    service = service_of(gate, tokens=Tokens.load(tmp_path / "tokens.toml"))
    with contextlib.ExitStack() as stack:
        stack.enter_context(behind(service, url))
        for id, (given, status) in enumerate(((None, 401), ("wrong", 401), (token, 200)), 1):
            transport, inbox = stack.enter_context(opened(url, token=given))
            reply = answered(transport, inbox, id)
            assert (reply.id, reply.status) == (id, status)
    assert gate.runs == 1


def test_what_is_under_way_is_answered_before_the_server_leaves(url: str) -> None:
    fast, slow = Gate(), Gate(is_open=False)
    service = service_of(fast, slow)
    with opened(url) as (transport, inbox):
        with behind(service, url):
            answered(transport, inbox, 1)
            for id in range(2, 40):  # more than paho has under way at a time
                transport.send(FrameRequest(id, frame_of(2, 2), "tail1"))
            waiting = b'splitcodec_waiting_requests{model="tail1"} 38.0'
            until(lambda: waiting in service.metrics.text())
            threading.Timer(0.1, slow.open.set).start()
        replies = [inbox.reply() for _ in range(2, 40)]
        assert {reply.id for reply in replies} == set(range(2, 40))
        transport.send(FrameRequest(50, frame_of(2, 2)))
        assert inbox.reply().status == 503  # it has left


def test_a_broker_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    port = free_port()
    url = f"mqtt://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        with mosquitto(tmp_path, port) as broker:
            stack.enter_context(behind(service_of(), url))
            transport, inbox = stack.enter_context(opened(url))
            assert answered(transport, inbox, 1).status == 200
            broker.kill()
            assert f"lost the broker at 127.0.0.1, port {port}" in str(inbox.loss())
        with pytest.raises(ServerError, match="lost the broker"):
            transport.send(FrameRequest(2, frame_of(2, 2)))
        with pytest.raises(ServerError, match=f"cannot connect to .* port {port}: .*refused"):
            transport.open(*inbox.callbacks)
        with pytest.raises(ServerError, match="is closed"):
            transport.send(FrameRequest(2, frame_of(2, 2)))
        with mosquitto(tmp_path, port):
            transport.open(*inbox.callbacks)
            assert answered(transport, inbox, 3).status == 200
            transport.close()
            stack.close()
    assert inbox.empty  # lost was called once, and not for what was closed


def test_a_server_may_come_before_its_broker(tmp_path: Path) -> None:
    port = free_port()
    url = f"mqtt://127.0.0.1:{port}"
    with behind(service_of(), url), mosquitto(tmp_path, port), opened(url) as (transport, inbox):
        assert answered(transport, inbox, 1).status == 200


def test_a_broker_says_how_long_a_request_may_be(tmp_path: Path) -> None:
    port = free_port()
    url = f"mqtt://127.0.0.1:{port}"
    settings = "allow_anonymous true", "max_packet_size 5000"
    with (
        mosquitto(tmp_path, port, *settings),
        behind(service_of(), url),
        opened(url, token="x" * 40) as (transport, inbox),
    ):
        assert transport.max_len is not None and 4500 < transport.max_len < 5000
        fits = transport.max_len - len(FrameRequest(2, b"").pack())
        assert answered(transport, inbox, 1).status == 200
        transport.send(FrameRequest(2, bytes(fits), timeout_s=TIMEOUT_S))
        assert inbox.reply().status == 400  # it came, and is no frame
        with pytest.raises(ArgumentError, match=f"carries {transport.max_len} at most"):
            transport.send(FrameRequest(3, bytes(fits + 1)))
        assert answered(transport, inbox, 4).status == 200


def test_a_broker_that_needs_a_password(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("edge:" + _hashed("right") + "\n")
    port = free_port()
    url = f"mqtt://edge@127.0.0.1:{port}"
    with (
        mosquitto(tmp_path, port, "allow_anonymous false", f"password_file {passwords}"),
        behind(service_of(), url, "right"),
    ):
        with opened(url, password="right") as (transport, inbox):
            assert answered(transport, inbox, 1).status == 200
        transport = MqttTransport(url, password="wrong", timeout_s=TIMEOUT_S)
        with pytest.raises(ServerError, match="refuses: Not authorized"):
            transport.open(*Inbox().callbacks)


def test_over_tls(tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme", reason="certificates need trustme")
    authority, port = trustme.CA(), free_port()
    made, ca = authority.issue_cert("127.0.0.1"), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    made.private_key_pem.write_to_path(tmp_path / "key.pem")
    made.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    files = (f"certfile {tmp_path}/cert.pem", f"keyfile {tmp_path}/key.pem")
    url = f"mqtts://127.0.0.1:{port}"
    with mosquitto(tmp_path, port, "allow_anonymous true", *files):
        with behind(service_of(), url, ca=ca), opened(url, ca=ca) as (transport, inbox):
            assert answered(transport, inbox, 1).status == 200
        with pytest.raises(ServerError, match="certificate verify failed"):
            MqttTransport(url).open(*Inbox().callbacks)


def _hashed(password: str) -> str:
    """As mosquitto_passwd has it."""
    salt = b"a salt of 12"
    made = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return "$7$101$" + "$".join(base64.b64encode(part).decode() for part in (salt, made))


def test_a_broker_that_says_nothing_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        transport = MqttTransport(f"mqtt://127.0.0.1:{port}", timeout_s=0.2)
        with pytest.raises(ServerError, match=r"did not answer within 0.2 s"):
            transport.open(*Inbox().callbacks)


def test_urls() -> None:
    assert Broker.parse("mqtt://host") == Broker("host", 1883, None, False, "splitcodec")
    found = Broker.parse("mqtts://edge@[::1]:99/site/a/")
    assert found == Broker("::1", 99, "edge", True, "site/a")
    assert found.requests == "site/a/request"


@pytest.mark.parametrize(
    "url",
    [
        "host",
        "http://host",
        "mqtt://",
        "mqtt://host:0",
        "mqtt://host:65536",
        "mqtt://host/a+b",
        "mqtt://host/?x=1",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ArgumentError, match="url is"):
        MqttTransport(url)


def test_a_password_in_the_url_is_not_shown() -> None:
    with pytest.raises(ArgumentError, match="by itself") as refused:
        MqttTransport("mqtt://edge:secret@host")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "options, why", [({"timeout_s": 0}, "timeout_s is 0"), ({"password": "x"}, "a user too")]
)
def test_arguments_that_will_not_do(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ArgumentError, match=why):
        MqttTransport("mqtt://host", **options)
