"""Folders with hashes: what is written is read, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pysplitcodec import Codebook, Codec
from pysplitcodec.bundle import BUNDLE, file_sha256, is_sha256, read_bundle, write_bundle
from pysplitcodec.errors import ModelError

CODEC = Codec(Codebook([0, 1]), "pack", shape=(2,))


def written(folder: Path, name: str = "net", codec: bool = True) -> Path:
    files = {"head": folder / "head.bin", "tail": folder / "tail.bin"}
    for part, file in files.items():
        file.write_bytes(part.encode())
    if codec:
        files["codec"] = folder / "codec.json"
        CODEC.save(files["codec"])
    write_bundle(folder, name, "layer 1", files)
    return folder


def test_round_trip(tmp_path: Path) -> None:
    found = read_bundle(written(tmp_path))
    assert (found.name, found.split) == ("net", "layer 1")
    assert found.codec is not None and found.codec.to_dict() == CODEC.to_dict()
    assert found.head.read_bytes() == b"head" and found.tail.read_bytes() == b"tail"
    assert read_bundle(written(tmp_path, codec=False)).codec is None


@pytest.mark.parametrize(
    ("name", "safe"), [("a b/c", "a_b_c"), (".x", "_x"), ("é", "_"), ("v1.2-x_y", "v1.2-x_y")]
)
def test_names_can_stand_in_a_url(name: str, safe: str, tmp_path: Path) -> None:
    assert read_bundle(written(tmp_path, name)).name == safe


@pytest.mark.parametrize("part", ["head.bin", "tail.bin", "codec.json"])
def test_changed_files(part: str, tmp_path: Path) -> None:
    file = written(tmp_path) / part
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(ModelError, match=f"{part} does not have the SHA-256"):
        read_bundle(tmp_path)
    file.unlink()
    with pytest.raises(ModelError, match="holds no bundle"):
        read_bundle(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "has format 2: this version reads 1"),
        ({"format": None}, "has format None"),
        ({"files": {}}, "holds no bundle"),
        ({"files": []}, "holds no bundle"),
        ({"files": {"head": {"file": "../head.bin", "sha256": "0"}}}, "expected one beside"),
        ({"files": {"head": {"file": "/etc/passwd", "sha256": "0"}}}, "expected one beside"),
        ({"files": {"head": {"file": 5, "sha256": "0"}}}, "holds no bundle"),
        ({"files": {"head": {"file": "", "sha256": "0"}}}, "holds no bundle"),
    ],
)
def test_what_is_no_bundle(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    file = written(tmp_path) / BUNDLE
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ModelError, match=says):
        read_bundle(tmp_path)
    for text in ("[]", "{", "", "null", "[" * 10_000):
        file.write_text(text)
        with pytest.raises(ModelError, match="holds no bundle"):
            read_bundle(tmp_path)


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    found = file_sha256(tmp_path / "abc")
    assert found == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert is_sha256(found) and not is_sha256(found[1:]) and not is_sha256(found.upper())
    assert not is_sha256(None)
