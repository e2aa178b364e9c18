"""Room for requests in memory, whatever brings them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pysplitcodec.serve.limits import RefusalError

__all__ = ["Room"]


class Room:
    """So many bytes, for the requests that are there at a time."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._taken = 0

    def take(self, length: int) -> None:
        """Take room for so many bytes; RefusalError (503) if there is none."""
        if self._taken + length > self._max_bytes:
            why = "too many requests at a time: try again later"
            raise RefusalError(503, why, {"Retry-After": "1"})
        self._taken += length

    def leave(self, length: int) -> None:
        """Give back what was taken."""
        self._taken -= length

    @contextmanager
    def taken(self, length: int) -> Iterator[None]:
        """Room for so many bytes in a `with` statement."""
        self.take(length)
        try:
            yield
        finally:
            self.leave(length)
