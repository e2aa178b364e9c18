"""HTTP as clients use it here: one connection, kept open, whose every failure is a ServerError."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from pysplitcodec.errors import ArgumentError, ServerError
from pysplitcodec.serve.protocol import shown
from pysplitcodec.serve.transport import check_timeout

__all__ = ["Connection"]

# Shorter than the server keeps an idle connection, so that none is closed while a request is sent.
_KEEP_ALIVE_S = 30.0
_MAX_ANSWER_LEN = 64 << 20


class Connection:
    """A connection to a server at `url`, such as "http://192.168.1.20:8000".

    timeout_s: how long to wait for the server to accept, take or send anything.  token: a bearer
    token.  ca: a file of certificates, in PEM, one of which must have signed the server's; None:
    those that the system trusts.  Nothing is sent before the first call, and proxies set in the
    environment are not used.  Safe to use from several threads.

    Raises ArgumentError for other URLs and times, OSError for a `ca` that cannot be read.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float,
        *,
        token: str | None = None,
        ca: str | os.PathLike[str] | None = None,
    ) -> None:
        check_timeout(timeout_s)
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, TypeError) as error:
            raise ArgumentError(f"url is {url!r}: {error}") from None
        fits = parsed.scheme in ("http", "https") and (parsed.port is None or parsed.port < 65536)
        if not fits or not parsed.host or parsed.query or parsed.fragment:
            raise ArgumentError(f"url is {url!r}: expected http://host:port")
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        headers = {"Accept-Encoding": "identity"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        verify = ssl.create_default_context(cafile=ca) if parsed.scheme == "https" else False
        self._http = httpx.Client(
            timeout=timeout_s,
            limits=httpx.Limits(keepalive_expiry=_KEEP_ALIVE_S),
            headers=headers,
            verify=verify,
            trust_env=False,
        )

    @contextmanager
    def stream(
        self, method: str, path: str, content: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        """One request and its answer, of status 200 or 206, whose body is still to be read.

        Raises ServerError if the server is not there, refuses, or fails while it is read.
        """
        try:
            with self._http.stream(
                method, self.url + path, content=content, headers=headers
            ) as answer:
                if answer.status_code not in (200, 206):
                    status, reason = answer.status_code, _reason(self.read(answer))
                    again = answer.headers.get("Retry-After", "")
                    raise ServerError(
                        f"{self.url} answered {status}: {reason}",
                        status,
                        float(again) if again.isdecimal() else None,
                    )
                yield answer
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ServerError(f"no server answers at {self.url}: {error}") from None
        except httpx.TimeoutException:
            raise ServerError(f"{self.url} did not answer within {self._timeout_s:g} s") from None
        except httpx.TransportError as error:
            raise ServerError(f"the connection to {self.url} broke: {error}") from None

    def read(self, answer: httpx.Response) -> bytes:
        """The body of an answer; ServerError if it is absurdly long."""
        body = bytearray()
        for chunk in answer.iter_raw():
            body += chunk
            if len(body) > _MAX_ANSWER_LEN:
                raise ServerError(
                    f"{self.url} sends more than {_MAX_ANSWER_LEN} bytes in one answer"
                )
        return bytes(body)

    def exchange(
        self, method: str, path: str, content: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[bytes, httpx.Headers]:
        """One request and the body and headers of its answer.  Raises ServerError as `stream`."""
        with self.stream(method, path, content, headers) as answer:
            return self.read(answer), answer.headers

    def exchange_json(self, method: str, path: str, content: bytes = b"") -> dict[str, Any]:
        """As `exchange`, JSON both ways; ServerError if the answer is no object."""
        headers = {"Content-Type": "application/json"} if content else None
        body, _ = self.exchange(method, path, content, headers)
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ServerError(f"{self.url}{path} did not answer with a JSON object")
        return found

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


def _reason(body: bytes) -> str:
    """The server's message, in whatever way it is given."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and isinstance(found.get("error"), str):
        return " ".join(found["error"][:1000].split())
    return shown(body[:200].decode("utf-8", "replace"))
