"""The tail server as a Ray Serve application, on one machine or a cluster: docs/scale-out.md.

Each replica is a whole server, with queues of its own that run together what waits; Ray starts
replicas, routes requests to them and replaces those that fail.
"""

# no `from __future__ import annotations`: Ray and pydantic read the annotations

from typing import TYPE_CHECKING, Any, Optional, Union

from pysplitcodec.errors import MissingDependencyError
from pysplitcodec.plan import DeviceProfile
from pysplitcodec.serve.limits import ServerLimits
from pysplitcodec.serve.sources import find, load

try:
    from pydantic import BaseModel, PositiveInt
    from ray import serve

    from pysplitcodec.serve.app import create_app
    from pysplitcodec.serve.multiplexed import MultiplexedService
    from pysplitcodec.serve.service import Service
    from pysplitcodec.serve.tokens import Tokens
except ImportError as error:
    raise MissingDependencyError(
        f'pysplitcodec.serve.ray_app needs {error.name}: pip install "pysplitcodec[ray]"'
    ) from error

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["Settings", "app", "deployment"]


class Settings(BaseModel, extra="forbid"):
    """What every replica serves.

    sources: paths, or only one.  Each replica reads them where it runs, so they are there on all
    nodes.  codecs, name, threads, limits, device, tokens: see `pysplitcodec.serve.serve`.
    tails_per_replica: tails that a replica holds at a time; it opens one when it is first asked for
    it, and forgets the one that it was not asked for the longest.  None: all, from the start.

    Raises pydantic's ValidationError, a ValueError, for unknown names and values of other types.
    """

    sources: Union[str, list[str]]
    codecs: Optional[list[str]] = None
    name: Optional[str] = None
    threads: PositiveInt = 1
    limits: ServerLimits = ServerLimits()
    device: Optional[DeviceProfile] = None
    tokens: Optional[str] = None
    tails_per_replica: Optional[PositiveInt] = None


def app(settings: Settings) -> serve.Application:
    """The application, as `serve run pysplitcodec.serve.ray_app:app sources=out` builds it."""
    return deployment(settings)


def deployment(settings: Settings, **options: Any) -> serve.Application:
    """The application with options of its one deployment, "tails".

    options: those of `ray.serve.deployment`, such as num_replicas, autoscaling_config and
    max_ongoing_requests.  Where they say nothing else, a replica takes twice the requests that
    `limits` lets wait for a tail, so that it is the replica that refuses, and says when to come
    again; a CPU for each of the `threads`; and `limits.stop_s` to answer what it has when it stops.

    Files are read in the replicas: what `load` raises is in their logs, and what Ray then says.
    """

    def build() -> "Starlette":
        return create_app(_service(settings))

    limits = settings.limits
    ours: dict[str, Any] = {
        "name": "tails",
        "max_ongoing_requests": 2 * limits.max_waiting,
        "ray_actor_options": {"num_cpus": settings.threads},
        "graceful_shutdown_timeout_s": limits.stop_s,
    }
    return serve.deployment(serve.ingress(build)(), **{**ours, **options}).bind()


def _service(settings: Settings) -> Service:
    sources = [settings.sources] if isinstance(settings.sources, str) else settings.sources
    what: dict[str, Any] = {
        "codecs": settings.codecs,
        "name": settings.name,
        "limits": settings.limits,
        "threads": settings.threads,
    }
    rest: dict[str, Any] = {
        "limits": settings.limits,
        "device": settings.device,
        "tokens": None if settings.tokens is None else Tokens.load(settings.tokens),
    }
    if settings.tails_per_replica is None:
        return Service(*load(sources, **what), **rest)
    cached = serve.multiplexed(max_num_models_per_replica=settings.tails_per_replica)
    return MultiplexedService(find(sources, **what), cached, **rest)
