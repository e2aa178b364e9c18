"""The device's side of QPART: asks for a plan, fetches the head once, and runs.

request -> plan, codec, hash of a head -> the head, if it is not in the cache -> features
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Union

import numpy as np
import numpy.typing as npt

from pysplitcodec.bundle import is_sha256
from pysplitcodec.codec import Codec
from pysplitcodec.errors import ArgumentError, FrameError, ModelError, ServerError
from pysplitcodec.plan import DeviceProfile, Limits, Link, Weights
from pysplitcodec.plan.packed_weights import unpack_weights
from pysplitcodec.runtime import Model, TensorInfo, one_line, open_model
from pysplitcodec.serve.closing import Closing
from pysplitcodec.serve.connection import Connection
from pysplitcodec.serve.edge import EdgeClient, EdgeReply
from pysplitcodec.serve.fetch import fetch
from pysplitcodec.serve.http_link import HttpTransport
from pysplitcodec.serve.offers import KINDS
from pysplitcodec.serve.tail import check_name

if TYPE_CHECKING:
    from torch.nn import Module

__all__ = ["Negotiated", "negotiate"]

_NEGOTIATE = "/v1/split/negotiate"
_MAX_HEAD_BYTES = 1 << 30

_log = logging.getLogger("pysplitcodec.serve")

HeadFor = Callable[[str], "Module"]
Fallback = Union[Model, Literal["earlier plan"], None]


@dataclass
class Negotiated(Closing):
    """A split model that a server offered, or what stands in for it; use it in a `with` statement.

    plan: figures of the split, None if a local model runs.  received_bytes: of the head, just now.
    edge: what runs; None if a local model does.  local: that model.  fallback: why not what was
    asked for, None if it is.
    """

    plan: dict[str, Any] | None
    received_bytes: int
    edge: EdgeClient | None
    local: Model | None
    fallback: str | None

    @property
    def inputs(self) -> list[TensorInfo]:
        """What a sample must be; of a torch head not known, and empty."""
        runs = self.local if self.edge is None else self.edge.head
        assert runs is not None
        return runs.inputs

    def run(self, *inputs: npt.ArrayLike) -> EdgeReply:
        """Run one sample; a local model runs it if the server fails, and the reply says why.

        Raises as `EdgeClient.run`.
        """
        if self.edge is not None:
            reply = self.edge.run(*inputs)
            return replace(reply, fallback=reply.fallback or self.fallback)
        assert self.local is not None
        return EdgeReply.here(self.local, inputs, self.fallback)

    def close(self) -> None:
        """Close the connection to the server."""
        if self.edge is not None:
            self.edge.close()


def negotiate(
    url: str,
    model: str,
    cache: str | os.PathLike[str],
    *,
    max_accuracy_drop: float,
    device: DeviceProfile | str,
    link: Link | str,
    inferences: float = 1,
    weights: Weights | None = None,
    limits: Limits | None = None,
    head_for: HeadFor | None = None,
    fallback: Fallback = None,
    timeout_s: float = 10.0,
    token: str | None = None,
    ca: str | os.PathLike[str] | None = None,
) -> Negotiated:
    """Ask the server at `url` for the best split of a model, and make it ready to run.

    cache: a folder for heads, which are not sent again, nor what came of one that was cut off.
    max_accuracy_drop: a share.  device, link: profiles, or names of those that are shipped.
    inferences: for how many samples the head is sent once.  weights, limits: what is minimised, and
    kept.  head_for: gives the module before a split point, in eval() mode, whose weights are
    replaced by what the server sends; without it heads must be TFLite.  fallback: what runs if the
    server is not there, has no such model, cannot keep the budget, or sends another head than it
    said: a local model, or "earlier plan" for the last that was agreed in this cache.  timeout_s:
    how long any answer may take.  token, ca: as for `TailClient`.

    A head is run by the runtime that is installed: take it only from servers that you trust.
    Raises ServerError, ModelError or FrameError for these reasons without a fallback, ArgumentError
    for a name of no model, or weights without `head_for`, OSError if the cache cannot be written.
    """
    check_name(model)
    folder = Path(cache)
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{model}.plan.json"
    local = None if isinstance(fallback, str) else fallback
    asked = {
        "model": model,
        "max_accuracy_drop": max_accuracy_drop,
        "device": device if isinstance(device, str) else _without_sources(device.to_dict()),
        "link": link if isinstance(link, str) else _without_sources(asdict(link)),
        "inferences": inferences,
        "weights": asdict(weights or Weights()),
        "limits": {k: v for k, v in asdict(limits or Limits()).items() if v is not None},
    }
    transport = HttpTransport(url, timeout_s=timeout_s, token=token, ca=ca)
    connection = Connection(url, timeout_s, token=token, ca=ca)
    try:
        answer = connection.exchange_json("POST", _NEGOTIATE, json.dumps(asked).encode())
        found = _ready(answer, connection, folder, head_for, local, transport, timeout_s)
        kept.write_text(json.dumps(answer), encoding="utf-8")
        return found
    except (ServerError, ModelError, FrameError) as error:
        if fallback is None:
            raise
        why = str(error)
        _log.warning("%s of %s: the fallback runs: %s", model, url, why)
        if local is not None:
            return Negotiated(None, 0, None, local, why)
        found = _ready(
            _earlier(kept, why), connection, folder, head_for, None, transport, timeout_s
        )
        found.fallback = why
        return found
    finally:
        connection.close()


def _without_sources(table: Mapping[str, Any]) -> dict[str, Any]:
    left_out = ("name", "description", "sources")
    return {k: v for k, v in table.items() if k not in left_out and v is not None}


def _earlier(kept: Path, why: str) -> dict[str, Any]:
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise ServerError(f"{why}; and {kept.parent} has no earlier plan")
    return found


def _ready(
    answer: dict[str, Any],
    connection: Connection,
    folder: Path,
    head_for: HeadFor | None,
    local: Model | None,
    transport: HttpTransport,
    timeout_s: float,
) -> Negotiated:
    """Fetch what an answer names, and load it.  Raises ServerError, ModelError, FrameError."""
    try:
        plan, head, tail = answer["plan"], answer["head"], answer["tail"]
        codec = Codec.from_dict(answer["codec"])
        path, sha256, size, kind = (head[key] for key in ("url", "sha256", "bytes", "kind"))
        split = plan["split"]
    except (KeyError, TypeError, ValueError) as error:
        raise ServerError(f"{connection.url} sent a plan that makes no sense: {error}") from None
    sound = is_sha256(sha256) and type(size) is int and 0 < size <= _MAX_HEAD_BYTES
    texts = all(isinstance(text, str) for text in (path, tail, split))
    if not sound or not texts or not path.startswith("/") or kind not in KINDS:
        raise ServerError(f"{connection.url} sent a plan that makes no sense: head {head!r:.300}")
    data, received_bytes = fetch(connection, path, sha256, size, folder)
    if kind == "tflite":
        from pysplitcodec.plan.packed_model import unpack_tflite

        runner: Model = open_model(unpack_tflite(data))
    else:
        runner = _TorchHead(data, split, head_for, codec)
    try:
        edge = EdgeClient(runner, codec, transport, tail, timeout_s=timeout_s, fallback=local)
    except ArgumentError as error:
        raise ServerError(f"{connection.url} sent a head and a codec of others: {error}") from None
    return Negotiated(plan, received_bytes, edge, local, None)


class _TorchHead:
    """A module with the weights that were sent, as a `Model`."""

    platform: ClassVar[str] = "pytorch"

    def __init__(self, data: bytes, split: str, head_for: HeadFor | None, codec: Codec) -> None:
        if head_for is None:
            raise ArgumentError(
                f"the head at {split!r} is weights for a PyTorch module: expected head_for"
            )
        import torch

        from pysplitcodec.runtime_torch import ModuleModel

        module = head_for(split)
        state = {name: torch.from_numpy(np.array(v)) for name, v in unpack_weights(data).items()}
        try:
            module.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise ModelError(
                f"the weights at {split!r} are of another head: {one_line(error)}"
            ) from None
        self._model = ModuleModel(module, None)
        self.inputs: list[TensorInfo] = self._model.inputs
        # what the module gives is known once it runs, and checked then
        self.outputs = [TensorInfo("feature", codec.shape, codec.dtype, None, None)]

    def __call__(self, *arrays: npt.ArrayLike) -> list[npt.NDArray[Any]]:
        return self._model(*arrays)
