"""Fetching a file by its hash: at most once, and not from the start again after a cut."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from pysplitcodec.errors import ServerError
from pysplitcodec.serve.connection import Connection

__all__ = ["fetch"]

_log = logging.getLogger("pysplitcodec.serve")


def fetch(
    connection: Connection, path: str, sha256: str, size: int, folder: Path
) -> tuple[bytes, int]:
    """The bytes of that SHA-256 and size, and how many of them were received for it.

    They are kept in `folder` under their hash, and with the suffix .part as long as they are not
    whole; a connection that breaks leaves that, for the next call to go on from.

    Raises ServerError if the server fails or sends something else, OSError if the folder cannot be
    written.
    """
    whole, part = folder / sha256, folder / f"{sha256}.part"
    if whole.is_file():
        data = whole.read_bytes()
        if hashlib.sha256(data).hexdigest() == sha256:
            return data, 0
        _log.warning("%s is damaged: it is fetched again", whole)
        whole.unlink()
    received = 0
    if not part.is_file() or part.stat().st_size != size:
        received = _download(connection, path, sha256, size, part)
    data = part.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if len(data) != size or found != sha256:
        part.unlink()
        raise ServerError(
            f"{connection.url} sent {len(data)} bytes of SHA-256 {found}: expected {size} of "
            f"{sha256}"
        )
    part.replace(whole)
    return data, received


def _download(connection: Connection, path: str, sha256: str, size: int, part: Path) -> int:
    """Write a file, or the rest of it; returns how many bytes came."""
    held = part.stat().st_size if part.is_file() else 0
    if held > size:
        part.unlink()
        held = 0
    wanted = {"Range": f"bytes={held}-", "If-Range": f'"{sha256}"'} if held else None
    received = 0
    with connection.stream("GET", path, headers=wanted) as answer:
        if answer.status_code == 200:  # all of it
            held = 0
        given = answer.headers.get("content-range")
        if answer.status_code == 206 and given != f"bytes {held}-{size - 1}/{size}":
            part.unlink(missing_ok=True)
            raise ServerError(
                f"{connection.url} sent the range {given!r}: expected bytes {held} to {size - 1}"
            )
        with part.open("ab" if held else "wb") as file:
            for chunk in answer.iter_raw():
                received += len(chunk)
                if held + received > size:
                    break
                file.write(chunk)
    if held + received > size:
        part.unlink()
        raise ServerError(f"{connection.url}{path} has more than the {size} bytes announced")
    return received
