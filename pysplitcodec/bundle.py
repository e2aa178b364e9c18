"""A split model as a folder: head, tail and codec, and bundle.json, which has their SHA-256.

{"format": 1, "name": "digits", "split": "bottleneck", "files": {
  "head": {"file": "head.tflite", "sha256": "..."}, "tail": {...}, "codec": {...}}}
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pysplitcodec.codec import Codec
from pysplitcodec.errors import ModelError

__all__ = ["BUNDLE", "Bundle", "file_sha256", "is_sha256", "read_bundle", "reading", "write_bundle"]

BUNDLE = "bundle.json"
_PARTS = ("head", "tail", "codec")


@dataclass(frozen=True)
class Bundle:
    """What `read_bundle` found; codec is None where none was made."""

    name: str
    split: str
    head: Path
    tail: Path
    codec: Codec | None


def write_bundle(
    path: str | os.PathLike[str], name: str, split: str, files: Mapping[str, Path]
) -> None:
    """Write the bundle.json of a folder that has its files.

    name: of the model; what cannot stand in a URL becomes "_".  files: "head", "tail" and perhaps
    "codec", all in this folder.
    """
    listed = {
        part: {"file": file.name, "sha256": file_sha256(file)} for part, file in files.items()
    }
    safe = re.sub(r"[^A-Za-z0-9._-]|^[.-]", "_", name)
    text = json.dumps({"format": 1, "name": safe, "split": split, "files": listed}, indent=1)
    (Path(path) / BUNDLE).write_text(text + "\n", encoding="utf-8")


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read a bundle; every file must have the SHA-256 that bundle.json says.

    Raises ModelError for anything else.
    """
    folder = Path(path)
    with reading(folder, BUNDLE, "bundle") as found:
        files = {part: _file(folder, found["files"][part]) for part in _PARTS[:2]}
        codec = None
        if "codec" in found["files"]:
            codec = Codec.load(_file(folder, found["files"]["codec"]))
        return Bundle(str(found["name"]), str(found["split"]), files["head"], files["tail"], codec)


@contextmanager
def reading(folder: Path, index: str, what: str) -> Iterator[dict[str, Any]]:
    """The JSON of a folder's index, of format 1.

    Raises ModelError if it is none, and for what goes wrong while the statement takes it apart.
    """
    try:
        found = json.loads((folder / index).read_text(encoding="utf-8"))
        if found["format"] != 1:
            raise ModelError(f"{folder} has format {found['format']!r}: this version reads 1")
        yield found
    except ModelError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{folder} holds no {what}: {type(error).__name__}: {error}") from None


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def is_sha256(text: object) -> bool:
    """Whether `text` is what `file_sha256` gives, and so a safe name of a file."""
    return isinstance(text, str) and re.fullmatch(r"[0-9a-f]{64}", text) is not None


def _file(folder: Path, row: Mapping[str, str]) -> Path:
    name = row["file"]
    if Path(name).name != name:
        raise ModelError(f"{folder} names the file {name!r}: expected one beside {BUNDLE}")
    if file_sha256(folder / name) != row["sha256"]:
        raise ModelError(f"{folder / name} does not have the SHA-256 that {BUNDLE} says")
    return folder / name
