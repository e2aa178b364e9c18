"""The embedded digits network as a bundle."""

from __future__ import annotations

from pathlib import Path

from pysplitcodec import Codec
from pysplitcodec.bundle import write_bundle
from pysplitcodec.demo import load_digits


def write_digits_bundle(folder: Path, codec: Codec | None = None, name: str = "digits") -> Path:
    """What `splitcodec split` writes into a folder, which is made if it is not there."""
    folder.mkdir(exist_ok=True)
    digits = load_digits()
    files = {"head": folder / "head.tflite", "tail": folder / "tail.tflite"}
    files["head"].write_bytes(digits.head)
    files["tail"].write_bytes(digits.tail)
    if codec is not None:
        files["codec"] = folder / "codec.json"
        codec.save(files["codec"])
    write_bundle(folder, name, digits.at, files)
    return folder
