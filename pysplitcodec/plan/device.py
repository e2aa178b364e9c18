"""Profiles of devices that run a head: how fast they compute and code, and where that is from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan.tables import (
    check_count,
    check_keys,
    check_positive,
    check_sources,
    named,
    read_tables,
    write_table,
)


@dataclass(frozen=True)
class ModelTime:
    """What one run of a whole model takes on a device, in seconds, and the MACs it has."""

    model: str
    macs: int
    seconds: float
    source: str

    def __post_init__(self) -> None:
        """Raise ArgumentError on what no run takes."""
        check_positive(f"time of {self.model}", macs=self.macs, seconds=self.seconds)

    @property
    def macs_per_s(self) -> float:
        """Multiply-accumulates a second in this model."""
        return self.macs / self.seconds


@dataclass(frozen=True)
class DeviceProfile:
    """What is known of a device, or a server; figures that are not known are None or empty.

    macs_per_s: multiply-accumulates of a model's layers a second, whatever else it does meanwhile.
    model_times: measured runs of whole models.  encode_ns_per_element: by coder, nanoseconds to
    make a frame of a feature, quantising included, at 2 bits.  ram_bytes, flash_bytes: for data and
    for weights; where flash_bytes is not known, RAM holds both.  power_w: mean, while it computes.
    price_per_s: what a server takes for a second of it, in any unit.  sources: where each figure is
    from, by its name.
    Raises ArgumentError for figures that are not above 0.
    """

    name: str
    description: str = ""
    macs_per_s: float | None = None
    model_times: tuple[ModelTime, ...] = ()
    encode_ns_per_element: Mapping[str, float] = field(default_factory=dict)
    ram_bytes: int | None = None
    flash_bytes: int | None = None
    power_w: float | None = None
    price_per_s: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ArgumentError on what no device has."""
        single = ("macs_per_s", "ram_bytes", "flash_bytes", "power_w", "price_per_s")
        given = {name: getattr(self, name) for name in single}
        known = {name: value for name, value in given.items() if value is not None}
        coders = {f"encode_ns_per_element of {k}": v for k, v in self.encode_ns_per_element.items()}
        check_positive(f"device {self.name}", **known, **coders)

    @property
    def effective_macs_per_s(self) -> float:
        """`macs_per_s`, or where it is not known what the measured models make of it together.

        Raises ArgumentError if there are none either.
        """
        if self.macs_per_s is not None:
            return self.macs_per_s
        if not self.model_times:
            raise ArgumentError(
                f"device {self.name} has no macs_per_s: no source gives it; measure one with "
                "`splitcodec profile`, or dataclasses.replace(device, macs_per_s=...)"
            )
        return sum(t.macs for t in self.model_times) / sum(t.seconds for t in self.model_times)

    def like(self, model: str) -> DeviceProfile:
        """Return the device at the MAC/s of one of its measured models.

        For heads of such a model: between models of one device they can differ tenfold.
        """
        times = {time.model: time for time in self.model_times}
        time = named(times, f"model of device {self.name}", model)
        sources = {**self.sources, "macs_per_s": f"MACs / seconds of {model}: {time.source}"}
        return replace(self, macs_per_s=time.macs_per_s, sources=sources)

    def compute_s(self, macs: float) -> float:
        """Seconds for so many MACs, at `effective_macs_per_s`."""
        check_count("compute_s", macs=macs)
        return macs / self.effective_macs_per_s

    def codec_s(self, elements: float, coder: str) -> float:
        """Seconds to quantise and code a feature of so many elements.

        Raises ArgumentError for a coder whose speed there is not known.
        """
        check_count("codec_s", elements=elements)
        return elements * named(self.encode_ns_per_element, f"coder on {self.name}", coder) / 1e9

    def to_dict(self) -> dict[str, Any]:
        """Return what is known, as its table in a TOML file."""
        table = asdict(self)
        del table["name"]
        table["model_times"] = list(table["model_times"])
        return {key: value for key, value in table.items() if value not in (None, "", [], {})}

    @classmethod
    def from_dict(cls, name: str, table: Mapping[str, Any]) -> DeviceProfile:
        """Make one of what `to_dict` returns; every figure must have a source.

        Raises ArgumentError.
        """
        where = f"device {name}"
        known = [one.name for one in fields(cls) if one.name != "name"]
        check_keys(where, table, needed=("sources",), known=known)
        check_sources(where, table)
        coders, times = table.get("encode_ns_per_element", {}), table.get("model_times", [])
        if not isinstance(coders, dict):
            raise ArgumentError(f"{where} has encode_ns_per_element {coders!r}: expected a table")
        if not isinstance(times, list) or not all(isinstance(time, dict) for time in times):
            raise ArgumentError(f"{where} has model_times {times!r}: expected a list of tables")
        keys = [one.name for one in fields(ModelTime)]
        for time in times:
            check_keys(f"{where}, model_times", time, needed=keys, known=keys)
        return cls(name, **{**table, "model_times": tuple(ModelTime(**time) for time in times)})


def load_devices(path: str | os.PathLike[str] | None = None) -> dict[str, DeviceProfile]:
    """Return the profiles of a TOML file by name; those that are shipped if path is None.

    Raises ArgumentError if a profile is not sound, OSError if the file cannot be read.
    """
    tables = read_tables(path, "devices.toml")
    return {name: DeviceProfile.from_dict(name, table) for name, table in tables.items()}


def get_device(name: str) -> DeviceProfile:
    """Return the shipped profile of that name; ArgumentError lists those there are."""
    return named(load_devices(), "device", name)


def save_devices(devices: Iterable[DeviceProfile], path: str | os.PathLike[str]) -> None:
    """Write profiles to a TOML file, for `load_devices`."""
    tables = [write_table(device.name, device.to_dict()) for device in devices]
    Path(path).write_text("\n".join(tables), encoding="utf-8")
