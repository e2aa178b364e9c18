"""Edge and server: frames go to a tail model over HTTP, its outputs come back.

The server speaks the Open Inference Protocol v2 with Triton's binary tensors; docs/serving.md has
the endpoints.  Importing this package imports neither web framework nor model runtime: names are
loaded when first used, and then need `pip install "pysplitcodec[serve]"`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pysplitcodec.serve.client import EdgeClient, EdgeReply, TailClient, TailReply
    from pysplitcodec.serve.device import Negotiated, NegotiatedReply, negotiate
    from pysplitcodec.serve.offers import Offer, Offers, read_offers, write_offers
    from pysplitcodec.serve.server import create_app, serve

__all__ = [
    "EdgeClient",
    "EdgeReply",
    "Negotiated",
    "NegotiatedReply",
    "Offer",
    "Offers",
    "TailClient",
    "TailReply",
    "create_app",
    "negotiate",
    "read_offers",
    "serve",
    "write_offers",
]

_HOME = {
    "EdgeClient": "client",
    "EdgeReply": "client",
    "Negotiated": "device",
    "NegotiatedReply": "device",
    "Offer": "offers",
    "Offers": "offers",
    "TailClient": "client",
    "TailReply": "client",
    "create_app": "server",
    "negotiate": "device",
    "read_offers": "offers",
    "serve": "server",
    "write_offers": "offers",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
