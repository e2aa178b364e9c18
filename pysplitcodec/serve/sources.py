"""What is served, from files: tails alone, bundles, and offers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Union

from pysplitcodec.bundle import read_bundle
from pysplitcodec.codec import Codec
from pysplitcodec.errors import ArgumentError
from pysplitcodec.runtime import open_model
from pysplitcodec.serve.limits import ServerLimits
from pysplitcodec.serve.offers import INDEX, Offers, offered_tails, read_offers
from pysplitcodec.serve.tail import Tail, TailFile

__all__ = ["Found", "Loaded", "PathLike", "find", "load"]

PathLike = Union[str, "os.PathLike[str]"]


class Loaded(NamedTuple):
    """What sources hold, as `Service` takes it."""

    tails: list[Tail]
    offers: list[Offers]


class Found(NamedTuple):
    """What sources hold, tails not opened yet."""

    tails: list[TailFile]
    offers: list[Offers]


def load(
    sources: Sequence[PathLike],
    codecs: Sequence[Codec | PathLike] | None = None,
    *,
    name: str | None = None,
    limits: ServerLimits | None = None,
    threads: int = 1,
) -> Loaded:
    """Read tails and offers.

    sources: files of tails; folders that `splitcodec split` wrote, whose tail is served; folders
    that `write_offers` wrote, all of whose tails are.  codecs: of the only file among them, or
    paths of what `Codec.save` writes; None: codec.json beside each file, if it is there.  name: of
    the only file in URLs, otherwise its own without the suffix.  threads: CPU threads for one run
    of a tail.

    Raises ModelError for what cannot be read or run, or has another hash than it says;
    ArgumentError for parts that do not fit each other.
    """
    found = find(sources, codecs, name=name, limits=limits, threads=threads)
    return Loaded([tail.open() for tail in found.tails], found.offers)


def find(
    sources: Sequence[PathLike],
    codecs: Sequence[Codec | PathLike] | None = None,
    *,
    name: str | None = None,
    limits: ServerLimits | None = None,
    threads: int = 1,
) -> Found:
    """What `load` reads, with tails that are still to be opened.

    Folders are read, and checked against the hashes that they say; a tail's own file is checked
    again when it is opened.  Raises as `load` does, and so does opening a tail.
    """
    bounds, paths = limits or ServerLimits(), [Path(source) for source in sources]
    files = [path for path in paths if not path.is_dir()]
    if (name is not None or codecs is not None) and len(files) != 1:
        raise ArgumentError(
            f"name is {name!r}, codecs are {codecs!r}: expected them with one model's file, "
            f"there are {len(files)}"
        )

    def of_bundle(path: Path) -> Tail:
        bundle = read_bundle(path)
        fitting = [] if bundle.codec is None else [bundle.codec]
        return Tail(open_model(bundle.tail, threads), fitting, bundle.name, bounds)

    def of_file(path: Path) -> Tail:
        fitting = _codecs(path) if codecs is None else _loaded(codecs)
        return Tail(open_model(path, threads), fitting, name or path.stem, bounds)

    found = Found([], [])
    for path in paths:
        if (path / INDEX).is_file():
            found.offers.append(read_offers(path))
            found.tails.extend(offered_tails(found.offers[-1], bounds, threads))
        elif path.is_dir():
            found.tails.append(TailFile(read_bundle(path).name, partial(of_bundle, path)))
        else:
            found.tails.append(TailFile(name or path.stem, partial(of_file, path)))
    return found


def _codecs(tail: Path) -> list[Codec]:
    beside = tail.with_name("codec.json")
    return [Codec.load(beside)] if beside.is_file() else []


def _loaded(codecs: Sequence[Codec | PathLike]) -> list[Codec]:
    return [one if isinstance(one, Codec) else Codec.load(one) for one in codecs]
