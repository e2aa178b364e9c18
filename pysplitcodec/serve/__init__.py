"""Edge and server: frames go to a tail model over a link, its outputs come back.

Over HTTP the server speaks the Open Inference Protocol v2 with Triton's binary tensors;
docs/serving.md has the endpoints.  Importing this package imports neither web framework nor model
runtime: names are loaded when first used, and then need `pip install "pysplitcodec[serve]"`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pysplitcodec.errors import MissingDependencyError, SplitCodecError

if TYPE_CHECKING:
    from pysplitcodec.serve.app import create_app
    from pysplitcodec.serve.client import TailClient, TailReply
    from pysplitcodec.serve.device import Negotiated, negotiate
    from pysplitcodec.serve.edge import EdgeClient, EdgeReply
    from pysplitcodec.serve.http_link import HttpTransport
    from pysplitcodec.serve.limits import ServerLimits
    from pysplitcodec.serve.memory_link import MemoryTransport
    from pysplitcodec.serve.mqtt_link import MqttTransport
    from pysplitcodec.serve.offers import Offer, Offers, read_offers, write_offers
    from pysplitcodec.serve.sender import Sender
    from pysplitcodec.serve.serial_link import SerialTransport
    from pysplitcodec.serve.server import serve
    from pysplitcodec.serve.service import Service
    from pysplitcodec.serve.sources import load
    from pysplitcodec.serve.stream_link import StreamTransport
    from pysplitcodec.serve.tail import Tail
    from pysplitcodec.serve.transport import Transport

__all__ = [
    "EdgeClient",
    "EdgeReply",
    "HttpTransport",
    "MemoryTransport",
    "MqttTransport",
    "Negotiated",
    "Offer",
    "Offers",
    "Sender",
    "SerialTransport",
    "ServerLimits",
    "Service",
    "StreamTransport",
    "Tail",
    "TailClient",
    "TailReply",
    "Transport",
    "create_app",
    "load",
    "negotiate",
    "read_offers",
    "serve",
    "write_offers",
]

_HOME = {
    "EdgeClient": "edge",
    "EdgeReply": "edge",
    "HttpTransport": "http_link",
    "MemoryTransport": "memory_link",
    "MqttTransport": "mqtt_link",
    "Negotiated": "device",
    "Offer": "offers",
    "Offers": "offers",
    "Sender": "sender",
    "SerialTransport": "serial_link",
    "ServerLimits": "limits",
    "Service": "service",
    "StreamTransport": "stream_link",
    "Tail": "tail",
    "TailClient": "client",
    "TailReply": "client",
    "Transport": "transport",
    "create_app": "app",
    "load": "sources",
    "negotiate": "device",
    "read_offers": "offers",
    "serve": "server",
    "write_offers": "offers",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_HOME[name]}")
    except SplitCodecError:
        raise
    except ImportError as error:
        raise MissingDependencyError(
            f'{__name__}.{name} needs {error.name}: pip install "pysplitcodec[serve]"'
        ) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return __all__
