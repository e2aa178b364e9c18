"""What both ends of an MQTT link share: the broker, topics, and a connection to it."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pysplitcodec.errors import ArgumentError, MissingDependencyError
from pysplitcodec.serve.packets import prepare

if TYPE_CHECKING:
    import os

    from paho.mqtt.client import Client
    from paho.mqtt.properties import Properties

__all__ = ["AUTHORIZATION", "Broker", "properties"]

# The user property in which a request has its token, as HTTP's header has it.
AUTHORIZATION = "authorization"
_PORTS = {"mqtt": 1883, "mqtts": 8883}
# A broker that says nothing for one and a half times as long is lost.
_KEEP_ALIVE_S = 15


@dataclass(frozen=True)
class Broker:
    """Where a broker is, and what topics begin with.

    Requests go to PREFIX/request; replies to PREFIX/reply/ and what a client has chosen.
    """

    host: str
    port: int
    user: str | None = None
    tls: bool = False
    prefix: str = "splitcodec"

    @classmethod
    def parse(cls, url: str) -> Broker:
        """Read mqtt://[USER@]HOST[:PORT][/PREFIX], or mqtts://.

        Raises ArgumentError for anything else, and for a URL with a password, which others could
        see.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ArgumentError(f"url is {url!r}: expected a port below 65536") from None
        if parts.password is not None:
            raise ArgumentError("url has a password: give it by itself")
        prefix = parts.path.strip("/") or cls.prefix
        known = parts.scheme in _PORTS and parts.hostname and not parts.query and not parts.fragment
        if not known or port == 0 or set("+#$") & set(prefix):
            raise ArgumentError(f"url is {url!r}: expected mqtt://[USER@]HOST[:PORT][/PREFIX]")
        assert parts.hostname is not None
        secure = parts.scheme == "mqtts"
        return cls(
            parts.hostname, port or _PORTS[parts.scheme], parts.username or None, secure, prefix
        )

    @property
    def requests(self) -> str:
        """The topic of requests."""
        return f"{self.prefix}/request"

    @property
    def replies(self) -> str:
        """What topics of replies begin with."""
        return f"{self.prefix}/reply/"

    def __str__(self) -> str:
        return f"the broker at {self.host}, port {self.port}"

    def client(
        self, password: str | None, ca: str | os.PathLike[str] | None, *, reconnect: bool
    ) -> Client:
        """A connection to it, not open yet.

        ca: certificates, in PEM, of whom to trust; None: those of the system.  reconnect: whether
        it connects again by itself.  Raises MissingDependencyError without paho-mqtt, ArgumentError
        for a password without a user, and OSError for certificates that cannot be read.
        """
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
        except ImportError:
            raise MissingDependencyError(
                'MQTT needs paho-mqtt 2: pip install "pysplitcodec[mqtt]"'
            ) from None
        if password is not None and self.user is None:
            raise ArgumentError("there is a password: expected a user too, mqtt://USER@HOST")
        client = Client(
            CallbackAPIVersion.VERSION2,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=reconnect,
        )
        client.on_socket_open = _opened
        if self.user is not None:
            client.username_pw_set(self.user, password)
        if self.tls:
            client.tls_set_context(ssl.create_default_context(cafile=ca))
        return client

    def address(self) -> dict[str, Any]:
        """What a client connects with."""
        return {"host": self.host, "port": self.port, "keepalive": _KEEP_ALIVE_S}


def properties(packet: str, **values: Any) -> Properties:
    """MQTT's properties of a packet, such as "publish", by their names there."""
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    made = Properties(getattr(PacketTypes, packet.upper()))
    for name, value in values.items():
        setattr(made, name, value)
    return made


def _opened(_client: Client, _userdata: object, made: Any) -> None:
    # Without it an exchange of QoS 1 waits for delayed acknowledgements: 90 ms.
    assert isinstance(made, socket.socket)
    prepare(made)
