"""Bearer tokens: who may ask a server.

The server has a TOML file with a table for each client, and keeps no token, only its SHA-256:

    [kitchen-pi]
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    expires = 2027-01-01T00:00:00Z
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

from pysplitcodec import toml_file
from pysplitcodec.bundle import is_sha256
from pysplitcodec.errors import ArgumentError
from pysplitcodec.serve.limits import RefusalError
from pysplitcodec.serve.protocol import shown
from pysplitcodec.serve.tail import check_name

__all__ = ["Tokens", "add_token"]

_CHALLENGE = {"WWW-Authenticate": "Bearer"}


class _Client(NamedTuple):
    name: str
    expires: datetime | None


class Tokens:
    """Clients by the SHA-256 of their token."""

    def __init__(self, clients: Mapping[str, _Client]) -> None:
        self._clients = dict(clients)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tokens:
        """Read a file of tokens.  Raises ArgumentError for anything else, OSError."""
        clients = {}
        for name, table in toml_file.parse(Path(path).read_bytes(), path).items():
            known = isinstance(table, dict) and set(table) <= {"sha256", "expires"}
            if not known or not is_sha256(table.get("sha256")):
                raise ArgumentError(
                    f"{path}: {name} is {shown(table)}: expected sha256 and expires"
                )
            expires = table.get("expires")
            if expires is not None and not (isinstance(expires, datetime) and expires.tzinfo):
                raise ArgumentError(
                    f"{path}: expires of {name} is {shown(expires)}: expected a time with its "
                    "zone, such as 2027-01-01T00:00:00Z"
                )
            if table["sha256"] in clients:
                raise ArgumentError(f"{path}: {name} has the token of another client")
            clients[table["sha256"]] = _Client(name, expires)
        return cls(clients)

    def client(self, authorization: str | None) -> str:
        """The name of who sent the header Authorization; RefusalError (401) if it will not do."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise RefusalError(401, "a bearer token is needed", _CHALLENGE)
        # Found by the hash: how long the search takes says nothing of the tokens there are.
        found = self._clients.get(_sha256(token.strip()))
        if found is None:
            raise RefusalError(401, "the token is not known", _CHALLENGE)
        if found.expires is not None and found.expires <= datetime.now(timezone.utc):
            raise RefusalError(401, f"the token of {found.name} has expired", _CHALLENGE)
        return found.name


def add_token(path: str | os.PathLike[str], name: str, days: float | None = None) -> str:
    """Make a token for a client, add its SHA-256 to the file, and return it.

    days: until it expires; None: never.  The file is made if there is none, readable by its owner
    alone.  Raises ArgumentError for a name that will not do or is there, or days that are not
    above 0; OSError.
    """
    check_name(name)
    if "." in name:
        raise ArgumentError(f"name is {name!r}: expected no '.', which TOML reads otherwise")
    if days is not None and not 0 < days < 1e5:
        raise ArgumentError(f"days is {days}: expected more than 0, and less than 100000")
    file = Path(path)
    if file.exists() and name in toml_file.parse(file.read_bytes(), path):
        raise ArgumentError(f"{path} has a token of {name}: remove its table first")
    token = secrets.token_urlsafe(32)
    lines = [f"[{name}]", f'sha256 = "{_sha256(token)}"']
    if days is not None:
        until = datetime.now(timezone.utc) + timedelta(days=days)
        lines.append(f"expires = {until:%Y-%m-%dT%H:%M:%SZ}")
    file.touch(0o600)
    with file.open("a", encoding="utf-8") as opened:
        opened.write("\n".join(lines) + "\n\n")
    return token


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
