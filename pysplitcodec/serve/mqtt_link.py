"""MQTT as a transport: requests and replies through a broker."""

from __future__ import annotations

import concurrent.futures
import itertools
import math
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pysplitcodec.errors import ProtocolError, ServerError
from pysplitcodec.serve.messages import FrameReply
from pysplitcodec.serve.mqtt import AUTHORIZATION, Broker, properties
from pysplitcodec.serve.transport import check_fits, check_timeout

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from paho.mqtt.client import Client, MQTTMessage

    from pysplitcodec.serve.messages import FrameRequest

__all__ = ["MqttTransport"]

# Of a packet, if the broker does not say less.
_MAX_PACKET = 268_435_455
# Fixed header, packet id, lengths and kinds of properties, correlation data and expiry.
_OVERHEAD = 64
_NOBODY, _NOT_AUTHORIZED = 0x10, 0x87


class MqttTransport:
    """A server behind the broker at `url`, mqtt://[USER@]HOST[:PORT][/PREFIX]; see `Transport`.

    timeout_s: how long it may take to connect, and again to be let in.  password: of USER.  token:
    what the server needs, if it has tokens.  ca: certificates, in PEM, of whom to trust; None:
    those of the system.  `max_len` is known once it is open.

    Raises ArgumentError for other URLs and times, MissingDependencyError without paho-mqtt, and
    OSError for certificates that cannot be read.
    """

    max_len: int | None = None
    lossy = True  # what a server had taken when it ended

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 10.0,
        password: str | None = None,
        token: str | None = None,
        ca: str | os.PathLike[str] | None = None,
    ) -> None:
        check_timeout(timeout_s)
        self._broker, self._timeout_s = Broker.parse(url), timeout_s
        self._password, self._ca = password, ca
        self._client()  # raises for what will not do
        self._authorization = [] if token is None else [(AUTHORIZATION, f"Bearer {token}")]
        # The server knows this client by it, also when it connects again.
        self._topic = self._broker.replies + secrets.token_hex(12)
        self._session: _Session | None = None

    def open(
        self, replied: Callable[[FrameReply], None], lost: Callable[[ServerError], None]
    ) -> None:
        """Connect; see `Transport`."""
        self.close()
        session = _Session(self._client(), self._broker, self._topic, replied, lost)
        max_packet = session.open(self._timeout_s)
        texts = [self._broker.requests, self._topic, *itertools.chain(*self._authorization)]
        self.max_len = max_packet - _OVERHEAD - sum(len(text.encode()) for text in texts)
        self._session = session

    def send(self, request: FrameRequest) -> None:
        """Send a request; see `Transport`."""
        message = request.pack()
        check_fits(len(message), self.max_len, str(self._broker))
        if self._session is None:
            raise ServerError("the connection is closed")
        about: dict[str, Any] = {
            "ResponseTopic": self._topic,
            "CorrelationData": request.id.to_bytes(8, "big"),
        }
        if self._authorization:
            about["UserProperty"] = self._authorization
        if request.timeout_s is not None:  # later nobody waits for it
            about["MessageExpiryInterval"] = max(1, math.ceil(request.timeout_s))
        self._session.send(request.id, message, properties("publish", **about))

    def close(self) -> None:
        """Disconnect; see `Transport`."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _client(self) -> Client:
        return self._broker.client(self._password, self._ca, reconnect=False)


class _Session:
    """One connection; all but `open`, `send` and `close` runs in paho's thread."""

    def __init__(
        self,
        client: Client,
        broker: Broker,
        topic: str,
        replied: Callable[[FrameReply], None],
        lost: Callable[[ServerError], None],
    ) -> None:
        self._client, self._broker, self._topic = client, broker, topic
        self._replied, self._lost = replied, lost
        self._opened: concurrent.futures.Future[int] = concurrent.futures.Future()
        self._sent: dict[int, int] = {}
        self._max_packet = _MAX_PACKET
        self._gone: ServerError | None = None
        self._closing = False
        client.on_connect, client.on_subscribe = self._connected, self._subscribed
        client.on_disconnect = self._disconnected
        client.on_message, client.on_publish = self._came, self._published

    def open(self, timeout_s: float) -> int:
        """Connect, and return the longest packet that the broker takes."""
        self._client.connect_timeout = timeout_s
        try:
            self._client.connect(**self._broker.address(), clean_start=True)
            self._client.loop_start()
            return self._opened.result(timeout_s)
        except concurrent.futures.TimeoutError:  # an OSError too in newer Pythons
            why = f"it did not answer within {timeout_s:g} s"
        except (OSError, ServerError) as error:
            why = str(error)
        self.close()
        raise ServerError(f"cannot connect to {self._broker}: {why}")

    def send(self, id: int, message: bytes, about: Any) -> None:
        if self._gone is not None:
            raise self._gone
        info = self._client.publish(self._broker.requests, message, qos=1, properties=about)
        self._sent[info.mid] = id

    def close(self) -> None:
        self._closing = True
        self._client.disconnect()  # paho's thread ends with it

    def _connected(
        self, client: Client, _userdata: object, _flags: object, reason: Any, about: Any
    ) -> None:
        if reason.is_failure:
            self._fail(f"it refuses: {reason}")
            return
        self._max_packet = getattr(about, "MaximumPacketSize", _MAX_PACKET)
        client.subscribe(self._topic, qos=1)

    def _subscribed(
        self, _client: Client, _userdata: object, _mid: int, reasons: Any, _about: object
    ) -> None:
        if reasons[0].is_failure:
            self._fail(f"it does not let us have {self._topic}: {reasons[0]}")
        elif not self._opened.done():
            self._opened.set_result(self._max_packet)

    def _fail(self, why: str) -> None:
        if not self._opened.done():
            self._opened.set_exception(ServerError(why))

    def _disconnected(
        self, _client: Client, _userdata: object, _flags: object, reason: Any, _about: object
    ) -> None:
        self._gone = ServerError(f"lost {self._broker}: {reason}")
        if not self._opened.done():
            self._opened.set_exception(self._gone)
        elif not self._closing:
            self._lost(self._gone)

    def _came(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        if self._closing:
            return
        try:
            reply = FrameReply.read(message.payload)
        except ProtocolError:
            return  # whoever may write there: it answers nothing
        if reply.id == 0:  # of a request that could not be read
            correlated = getattr(message.properties, "CorrelationData", b"")
            reply = replace(reply, id=int.from_bytes(correlated[:8], "big"))
        self._replied(reply)

    def _published(
        self, _client: Client, _userdata: object, mid: int, reason: Any, _about: object
    ) -> None:
        # None if the broker was faster than `send`: then nothing is said before its time is over.
        id = self._sent.pop(mid, None)
        if id is None or self._closing or (reason.value != _NOBODY and not reason.is_failure):
            return
        if reason.value == _NOBODY:
            reply = FrameReply(id, 503, error=f"no server is at {self._broker}", retry_after_s=1)
        else:
            status = 403 if reason.value == _NOT_AUTHORIZED else 503
            reply = FrameReply(id, status, error=f"{self._broker} refuses: {reason}")
        self._replied(reply)
