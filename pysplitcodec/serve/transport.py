"""What carries requests from an edge client to a tail server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pysplitcodec.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pysplitcodec.errors import ServerError
    from pysplitcodec.serve.messages import FrameReply, FrameRequest

__all__ = ["Transport", "check_fits", "check_timeout"]


class Transport(Protocol):
    """A link to one tail server, over which many requests may be under way.

    Replies come in any order, may be lost, and may come twice: who uses it tells them by their ids
    and sends again.  Calls come from one thread at a time.

    max_len: bytes of the longest request, as `FrameRequest.pack` gives it, that the link carries;
    None: it does not say, or has no limit.  lossy: whether messages may be lost while the
    connection lasts, so that only time tells.
    """

    max_len: int | None
    lossy: bool

    def open(
        self, replied: Callable[[FrameReply], None], lost: Callable[[ServerError], None]
    ) -> None:
        """Connect, also after `lost`; raises ServerError if that fails.

        replied: called with each reply, from any thread.  lost: called once when the connection is
        gone, with why; requests that have no reply then get none.
        """

    def send(self, request: FrameRequest) -> None:
        """Send a request without waiting for its reply.

        Raises ArgumentError for one that is longer than the link carries, before any of it is sent,
        and ServerError if the connection is gone.
        """

    def close(self) -> None:
        """Disconnect; `lost` is not called for that."""


def check_fits(length: int, max_len: int | None, link: str) -> None:
    """Raise ArgumentError for a request that is longer than a link carries."""
    if max_len is not None and length > max_len:
        raise ArgumentError(f"the request has {length} bytes: {link} carries {max_len} at most")


def check_timeout(timeout_s: float) -> None:
    """Raise ArgumentError for a time that is none."""
    if not timeout_s > 0:
        raise ArgumentError(f"timeout_s is {timeout_s}: expected more than 0")
