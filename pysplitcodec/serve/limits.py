"""What a server takes on, and how it says no."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from pysplitcodec.errors import ArgumentError

__all__ = ["RefusalError", "ServerLimits"]


class RefusalError(Exception):
    """A request that is not answered.

    status: HTTP's.  headers: of the answer, such as Retry-After in whole seconds.
    """

    def __init__(self, status: int, why: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class ServerLimits:
    """Bounds of what is in memory, and of how long anything may take.

    max_body: bytes of one request.  max_bodies: bytes of all requests that are there at a time.
    max_batch: samples of one request.  max_waiting: requests that wait for one tail;
    max_waiting_of_one: of them, those of one client.  body_s: seconds from a request's first line
    to the end of its body.  drain_s: seconds in which a server that was told to stop still takes
    requests, and says on every answer that the connection closes; stop_s: further ones, for those
    it has.

    run: samples that run together at most.  delay_s: how long a request waits for others to run
    with; none waits while nothing runs if it is 0.  stack: one call of the tail for all that run
    together, faster for large tails; results can then differ in the last bits, and tails with
    variables do not fit.

    Raises ArgumentError for counts below 1 and negative times.
    """

    max_body: int = 16 << 20
    max_bodies: int = 256 << 20
    max_batch: int = 64
    max_waiting: int = 256
    max_waiting_of_one: int = 128
    body_s: float = 30.0
    drain_s: float = 0.5
    stop_s: float = 10.0
    run: int = 8
    delay_s: float = 0.0
    stack: bool = False

    def __post_init__(self) -> None:
        """Raise ArgumentError for what bounds nothing."""
        for one in fields(self):
            value = getattr(self, one.name)
            least = 0 if one.name.endswith("_s") else 1
            if not isinstance(value, bool) and not value >= least:
                raise ArgumentError(f"{one.name} is {value}: expected at least {least}")
