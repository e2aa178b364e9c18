"""What a server offers to devices: for each pattern a head to send down, a codec, and a tail.

A folder: offers.json, and the files of heads and tails, named by the SHA-256 of what they hold.

    {"format": 1, "model": "digits", "offers": [
      {"pattern": {...}, "kind": "tflite", "head": "<sha256>", "codec": {...}, "tail": "<sha256>"}]}
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pysplitcodec.bundle import file_sha256, is_sha256, reading
from pysplitcodec.codec import Codec
from pysplitcodec.errors import ArgumentError, ModelError
from pysplitcodec.plan.patterns import Pattern
from pysplitcodec.runtime import model_format, open_model
from pysplitcodec.serve.limits import ServerLimits
from pysplitcodec.serve.protocol import shown
from pysplitcodec.serve.tail import Tail, TailFile, check_name

__all__ = [
    "INDEX",
    "KINDS",
    "Offer",
    "Offers",
    "offered_tails",
    "read_offers",
    "tail_name",
    "write_offers",
]

INDEX = "offers.json"
KINDS = ("weights", "tflite")


@dataclass(frozen=True)
class Offer:
    """One way to share a model, as files.

    kind: of the head: "weights", what `pack_weights` wrote, for devices that have the head's code;
    "tflite", what `pack_tflite` wrote.  codec: of the feature, in the pattern's bits.  tail: a
    TFLite or ONNX model.  head, tail: paths.

    Raises ArgumentError for another kind, or a codec that is not the pattern's; ModelError for a
    .pt2 tail: reading it can run any code, so it is served only where it is named itself.
    """

    pattern: Pattern
    kind: str
    head: Path
    codec: Codec
    tail: Path

    def __post_init__(self) -> None:
        """Raise ArgumentError and ModelError for what does not go together."""
        if self.kind not in KINDS:
            raise ArgumentError(f"kind is {self.kind!r}: expected one of {', '.join(KINDS)}")
        wanted = self.pattern.feature_elements, self.pattern.feature_bits
        given = math.prod(self.codec.shape), self.codec.bits
        if given != wanted:
            raise ArgumentError(
                f"the codec at {self.pattern.split!r} is for {given[0]} elements in {given[1]} "
                f"bits: expected the pattern's {wanted[0]} in {wanted[1]}"
            )
        if model_format(self.tail) == "pt2":
            raise ModelError(
                f"tail {self.tail} is a .pt2 file, reading which can run any code: offer a TFLite "
                "or ONNX file, or serve it alone"
            )


class Offers(NamedTuple):
    """A model's name, and its offers, whose files are named by their SHA-256."""

    model: str
    offers: list[Offer]


def write_offers(path: str | os.PathLike[str], model: str, offers: Sequence[Offer]) -> None:
    """Write a folder for `read_offers`, with copies of the offers' files.

    model: the name that devices ask for.  Raises ArgumentError for a name that cannot stand in a
    URL, no offers, or two for one split point and drop; OSError if the folder cannot be written.
    """
    check_name(model)
    _check_distinct(offers)
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "pattern": asdict(one.pattern),
            "kind": one.kind,
            "head": _copied(one.head, folder),
            "codec": one.codec.to_dict(),
            "tail": _copied(one.tail, folder),
        }
        for one in offers
    ]
    text = json.dumps({"format": 1, "model": model, "offers": rows}, indent=1)
    (folder / INDEX).write_text(text + "\n", encoding="utf-8")


def read_offers(path: str | os.PathLike[str]) -> Offers:
    """Read what `write_offers` wrote; every file must have the SHA-256 that it is named by.

    Raises ModelError for anything else.
    """
    folder = Path(path)
    with reading(folder, INDEX, "offers") as found:
        check_name(found["model"])
        files = {row[part] for row in found["offers"] for part in ("head", "tail")}
        for name in files:
            _check_file(folder, name)
        offers = [_offer(folder, row) for row in found["offers"]]
        _check_distinct(offers)
        return Offers(found["model"], offers)


def tail_name(model: str, tail: Path) -> str:
    """The name that an offered tail is served by; offers of one split point share it."""
    return f"{model}-{tail.name[:12]}"


def offered_tails(offers: Offers, limits: ServerLimits, threads: int = 1) -> list[TailFile]:
    """The tails of a model's offers, each with the codecs of all offers that have it.

    threads: CPU threads for one run of one.
    """
    codecs: dict[Path, list[Codec]] = {}
    for one in offers.offers:
        codecs.setdefault(one.tail, []).append(one.codec)

    def opened(path: Path, name: str) -> Tail:
        _check_file(path.parent, path.name)  # it may have changed since it was found
        return Tail(open_model(path, threads), codecs[path], name, limits)

    names = {path: tail_name(offers.model, path) for path in codecs}
    return [TailFile(name, partial(opened, path, name)) for path, name in names.items()]


def _offer(folder: Path, row: dict[str, Any]) -> Offer:
    pattern, codec = Pattern(**row["pattern"]), Codec.from_dict(row["codec"])
    return Offer(pattern, row["kind"], folder / row["head"], codec, folder / row["tail"])


def _check_file(folder: Path, name: object) -> None:
    if not is_sha256(name):
        raise ModelError(f"{folder} names the file {shown(name)}: expected a SHA-256")
    if file_sha256(folder / str(name)) != name:
        raise ModelError(f"{folder / str(name)} does not have the SHA-256 that it is named by")


def _check_distinct(offers: Sequence[Offer]) -> None:
    if not offers:
        raise ArgumentError("offers are none: expected one at least")
    seen = set()
    for one in offers:
        key = one.pattern.split, one.pattern.drop
        if key in seen:
            raise ArgumentError(f"two offers are for {key[0]!r} and a drop of {key[1]:g}")
        seen.add(key)


def _copied(file: Path, folder: Path) -> str:
    name = file_sha256(file)
    shutil.copyfile(file, folder / name)
    return name
