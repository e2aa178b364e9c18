"""HTTP as a transport: a few connections, each with one request at a time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pysplitcodec.errors import ServerError
from pysplitcodec.serve.client import TailClient
from pysplitcodec.serve.messages import FrameReply

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from pysplitcodec.serve.messages import FrameRequest

__all__ = ["HttpTransport"]


class HttpTransport:
    """The tail server at `url`; requests go out over so many `connections`.

    timeout_s, token, ca: as of `TailClient`.
    """

    max_len: int | None = None
    lossy = False

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 10.0,
        token: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        connections: int = 4,
    ) -> None:
        def connect(model: str | None) -> TailClient:
            return TailClient(url, model, timeout_s, token=token, ca=ca)

        self._connect = connect
        connect(None).close()  # raises for what no server can be asked with
        self._connections = connections
        self._tails: dict[str, TailClient] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._ends = threading.Lock()

    def open(
        self, replied: Callable[[FrameReply], None], lost: Callable[[ServerError], None]
    ) -> None:
        """Find the server; see `Transport`."""
        self.close()
        first = self._connect(None)
        first.model  # noqa: B018  asks the server
        self._replied, self._lost = replied, lost
        self._tails = {"": first}
        self._pool = ThreadPoolExecutor(self._connections, thread_name_prefix="http")

    def send(self, request: FrameRequest) -> None:
        """Send a request; see `Transport`."""
        pool = self._pool
        if pool is None:
            raise ServerError("the connection is closed")
        if request.model not in self._tails:
            self._tails[request.model] = self._connect(request.model)
        try:
            pool.submit(self._exchange, pool, self._tails[request.model], request)
        except RuntimeError:
            raise ServerError("the connection is lost") from None

    def close(self) -> None:
        """Disconnect."""
        self._ended(self._pool)
        for tail in self._tails.values():
            tail.close()
        self._tails = {}

    def _ended(self, pool: ThreadPoolExecutor | None) -> bool:
        """End what these threads have under way; whether nobody did before."""
        with self._ends:
            if pool is None or pool is not self._pool:
                return False
            self._pool = None
        pool.shutdown(wait=False, cancel_futures=True)
        return True

    def _exchange(self, pool: ThreadPoolExecutor, tail: TailClient, request: FrameRequest) -> None:
        try:
            reply = tail.infer(request.frame, key=str(request.id), timeout_s=request.timeout_s)
        except ServerError as error:
            if error.status is not None:
                self._replied(
                    FrameReply(
                        request.id,
                        error.status,
                        error=str(error),
                        retry_after_s=error.retry_after_s,
                    )
                )
            elif self._ended(pool):  # the other connections do not say so again
                self._lost(error)
            return
        self._replied(
            FrameReply(
                request.id,
                outputs=reply.outputs,
                decode_s=reply.decode_s,
                tail_s=reply.tail_s,
            )
        )
