"""A service behind an MQTT broker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pysplitcodec.serve.framed import Answers, refusal
from pysplitcodec.serve.limits import RefusalError
from pysplitcodec.serve.mqtt import AUTHORIZATION, properties
from pysplitcodec.serve.protocol import shown

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator

    from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo

    from pysplitcodec.serve.mqtt import Broker
    from pysplitcodec.serve.service import Service

__all__ = ["serve_mqtt"]

_LINK = "mqtt"
_MAX_TOPIC = 200
# What a request takes beside its message, at most.
_MAX_OVERHEAD = 64 << 10
_BACKOFF_S = (1, 30)

_log = logging.getLogger("pysplitcodec.serve")


@asynccontextmanager
async def serve_mqtt(
    service: Service,
    broker: Broker,
    password: str | None = None,
    ca: str | os.PathLike[str] | None = None,
) -> AsyncIterator[None]:
    """Answer what a broker brings while the statement runs, connecting to it again and again.

    Servers of one prefix share its requests.  password, ca: see `Broker.client`.  What is under way
    when the statement ends is answered, for at most `limits.stop_s`.
    """
    server = _Server(service, broker)
    client = broker.client(password, ca, reconnect=True)
    server.start(client)
    try:
        yield
    finally:
        await server.stop(client)


class _Server:
    def __init__(self, service: Service, broker: Broker) -> None:
        self._service, self._broker = service, broker
        self._shared = f"$share/{broker.prefix.replace('/', '-')}/{broker.requests}"
        self._answers = Answers(service, _LINK)
        self._loop = asyncio.get_running_loop()
        self._left = asyncio.Event()
        self._last: MQTTMessageInfo | None = None

    def start(self, client: Client) -> None:
        client.on_connect = self._connected
        client.on_connect_fail = lambda *_: _log.warning("%s is not there", self._broker)
        client.on_disconnect = self._disconnected
        client.on_message = lambda _client, _userdata, message: self._soon(
            self._take, client, message
        )
        client.on_unsubscribe = lambda *_: self._soon(self._left.set)
        limits = self._service.limits
        client.reconnect_delay_set(*_BACKOFF_S)
        # Further replies are dropped where the broker does not take them: clients ask again.
        client.max_queued_messages_set(limits.max_waiting)
        client.connect_async(
            **self._broker.address(),
            clean_start=True,
            properties=properties("connect", MaximumPacketSize=limits.max_body + _MAX_OVERHEAD),
        )
        client.loop_start()

    async def stop(self, client: Client) -> None:
        """Leave requests to others, answer those that have come, and disconnect."""
        limits = self._service.limits
        _, asked = client.unsubscribe(self._shared)
        if asked is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._left.wait(), max(limits.drain_s, 0.1))
        await self._answers.drained()
        if self._last is not None and client.is_connected():
            with contextlib.suppress(RuntimeError, ValueError):  # it was not to be sent
                await self._loop.run_in_executor(
                    None, self._last.wait_for_publish, max(limits.drain_s, 0.1)
                )
        client.disconnect()
        # Its thread ends by itself, and sleeps for up to a second between attempts to connect.

    def _soon(self, call: Any, *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(call, *args)

    def _connected(
        self, client: Client, _userdata: object, _flags: object, reason: Any, _properties: object
    ) -> None:
        if reason.is_failure:
            _log.error("%s refuses: %s", self._broker, reason)
            return
        client.subscribe(self._shared, qos=1)
        _log.warning("serving at %s, topic %s", self._broker, self._broker.requests)

    def _disconnected(self, _client: Client, _userdata: object, _flags: object, *why: Any) -> None:
        _log.warning("lost %s: %s", self._broker, why[0])

    def _take(self, client: Client, message: MQTTMessage) -> None:
        given = message.properties
        topic = getattr(given, "ResponseTopic", "")
        # Elsewhere this server may be allowed to write, and who asks may not.
        own = topic.startswith(self._broker.replies) and not set("+#") & set(topic)
        if not own or len(topic) > _MAX_TOPIC:
            why = f"the response topic is {shown(topic)}: expected {self._broker.replies}..."
            self._service.refused(RefusalError(400, why), "-", _LINK, "")
            return
        correlation = getattr(given, "CorrelationData", b"")

        async def send(reply: bytes) -> None:
            self._publish(client, topic, reply, correlation)

        asks = dict(getattr(given, "UserProperty", []))
        try:
            who = self._service.client(asks.get(AUTHORIZATION), topic)
        except RefusalError as error:
            reply = refusal(self._service, error, topic, _LINK)
            self._publish(client, topic, reply, correlation)
            return
        self._answers.begin(bytes(message.payload), who, send)

    def _publish(self, client: Client, topic: str, reply: bytes, correlation: bytes) -> None:
        about = properties("publish", CorrelationData=correlation)
        self._last = client.publish(topic, reply, qos=1, properties=about)
