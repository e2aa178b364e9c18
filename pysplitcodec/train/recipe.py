"""Recipes: what is trained, as parts that are put together, from TOML."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pysplitcodec.errors import ArgumentError
from pysplitcodec.toml_file import parse

STAGES = ("whole", "bottleneck", "float", "device", "server")

Table = Mapping[str, Any]


@dataclass(frozen=True)
class ModelPart:
    """name, options: as for `models.build_model`; weights: a file, see `models.put_weights`."""

    name: str
    weights: str | None = None
    options: Table = field(default_factory=dict)


@dataclass(frozen=True)
class DataPart:
    """train, test: as for `data.image_folders`.

    Without them the name must be "shapes", for generated images, and the task "classification" or
    "detection": see `shapes.shapes`.

    calibration_samples: of the training samples, those that codebooks and coders learn from.
    """

    name: str
    train: str | None = None
    test: str | None = None
    task: str = "classification"
    side: int | None = None
    train_samples: int | None = None
    test_samples: int | None = None
    mirror: bool = True
    calibration_samples: int = 1000


@dataclass(frozen=True)
class BottleneckPart:
    """name: a key of `parts.BOTTLENECKS`; the rest of the table are its settings."""

    name: str = "autoencoder"
    settings: Table = field(default_factory=dict)


@dataclass(frozen=True)
class MethodPart:
    """name: a key of `parts.METHODS`; bits: of an index; the rest of the table its settings."""

    name: str = "tcl"
    bits: int = 2
    settings: Table = field(default_factory=dict)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast each stage is trained.

    epochs, learning_rate: for each of the stages "whole", "bottleneck", "float", "device" and
    "server"; a stage of 0 epochs is left out.  precision: "float32", "bfloat16", or "auto":
    bfloat16 where the hardware computes in it.  device: "auto", "cpu" or "cuda".
    """

    seed: int = 0
    epochs: Table = field(default_factory=dict)
    learning_rate: Table = field(default_factory=dict)
    weight_decay: float = 5e-4
    batch: int = 128
    precision: str = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        """Fill in stages that are not named; raise ArgumentError on what cannot be."""
        wanted = {"whole": 0, "bottleneck": 1, "float": 3, "device": 3, "server": 2}
        rates = {"whole": 0.05, "bottleneck": 0.2, "float": 0.05, "device": 0.02, "server": 0.02}
        for name, defaults in (("epochs", wanted), ("learning_rate", rates)):
            given = getattr(self, name)
            _check_keys(given, STAGES, f"schedule.{name}")
            object.__setattr__(self, name, {**defaults, **given})
        for stage, epochs in self.epochs.items():
            if not _is_int(epochs) or epochs < 0:
                raise ArgumentError(
                    f"schedule.epochs.{stage} is {epochs!r}: expected an integer from 0 on"
                )
        for stage, rate in self.learning_rate.items():
            if not isinstance(rate, (int, float)) or not rate > 0:
                raise ArgumentError(
                    f"schedule.learning_rate.{stage} is {rate!r}: expected a number above 0"
                )
        if not _is_int(self.seed) or not 0 <= self.seed < 1 << 32:
            raise ArgumentError(f"schedule.seed is {self.seed!r}: expected 0 to 4294967295")
        if not _is_int(self.batch) or self.batch < 2:
            raise ArgumentError(f"schedule.batch is {self.batch!r}: expected an integer from 2 on")
        for name, known in (
            ("precision", ("auto", "float32", "bfloat16")),
            ("device", ("auto", "cpu", "cuda")),
        ):
            if getattr(self, name) not in known:
                raise ArgumentError(
                    f"schedule.{name} is {getattr(self, name)!r}: expected {', '.join(known)}"
                )


@dataclass(frozen=True)
class Recipe:
    """One run: a model, cut at `split`, with a bottleneck, trained by a method.

    split: None only for the methods "on-device" and "on-server", which do not split.
    """

    model: ModelPart
    data: DataPart
    split: str | int | None = None
    bottleneck: BottleneckPart = field(default_factory=BottleneckPart)
    method: MethodPart = field(default_factory=MethodPart)
    schedule: Schedule = field(default_factory=Schedule)

    @classmethod
    def from_dict(cls, table: Table) -> Recipe:
        """A recipe of tables as in TOML; raises ArgumentError that names what is wrong."""
        _check_keys(table, [f.name for f in fields(cls)], "recipe")
        for needed in ("model", "data"):
            if needed not in table:
                raise ArgumentError(f"the recipe has no [{needed}]: expected one")
        split = _table(table.get("split", {"at": None}), "split")
        if set(split) != {"at"}:
            raise ArgumentError(f"[split] has {', '.join(split) or 'nothing'}: expected `at`")
        return cls(
            model=_part(ModelPart, table["model"], "model"),
            data=_part(DataPart, table["data"], "data"),
            split=split["at"],
            bottleneck=_with_settings(BottleneckPart, table.get("bottleneck", {}), "bottleneck"),
            method=_with_settings(MethodPart, table.get("method", {}), "method"),
            schedule=_part(Schedule, table.get("schedule", {}), "schedule"),
        )

    def to_dict(self) -> dict[str, Any]:
        """All parts, as JSON."""
        return asdict(self)

    @property
    def name(self) -> str:
        """A name for the run among those of one grid."""
        method = f"{self.method.name}{_settings(self.method.settings)}"
        seed = f"s{self.schedule.seed}"
        if self.split is None:
            return f"{self.data.name}-{method}"
        bottleneck = ""
        if self.bottleneck != BottleneckPart():
            bottleneck = f"-{self.bottleneck.name}{_settings(self.bottleneck.settings)}"
        at = _plain(self.split)
        return f"{self.data.name}-{at}{bottleneck}-{method}-b{self.method.bits}-{seed}"


def read_recipes(path: str | os.PathLike[str]) -> list[Recipe]:
    """The recipe in a TOML file, or all those of its [grid].

    A [grid] names parts, as "method.bits" or "method", and gives a list of values for each: there
    is a recipe for each combination.  A value for a whole part is a table that replaces it.  Raises
    ArgumentError for a file that cannot be read or a recipe that cannot be.
    """
    try:
        table = parse(Path(path).read_bytes(), path)
    except OSError as error:
        raise ArgumentError(f"{path} cannot be read: {error}") from None
    grid = _table(table.pop("grid", {}), "grid")
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ArgumentError(f"grid.{name} is {values!r}: expected a list of values")
    found = []
    for combination in itertools.product(*grid.values()):
        one = {name: dict(part) if isinstance(part, dict) else part for name, part in table.items()}
        for name, value in zip(grid, combination):
            _put(one, name, value)
        found.append(Recipe.from_dict(one))
    return found


def resolve(path: str) -> Path:
    """A path of a recipe, whose $VARIABLES are those of the environment."""
    found = os.path.expandvars(path)
    if "$" in found:
        raise ArgumentError(f"path {path!r} names a variable that the environment does not have")
    return Path(found).expanduser()


def _put(table: dict[str, Any], name: str, value: Any) -> None:
    part, _, key = name.partition(".")
    if not key:
        # what a method's table does not say, such as the bits of a grid, stays
        old = table.get(part)
        keep = {"bits": old["bits"]} if isinstance(old, dict) and "bits" in old else {}
        table[part] = {**keep, **value} if isinstance(value, dict) else value
        return
    inner = table.setdefault(part, {})
    if "." in key:
        inner[key.partition(".")[0]] = dict(inner.get(key.partition(".")[0], {}))
        _put(inner, key, value)
    else:
        inner[key] = value


def _part(kind: Any, table: Any, name: str) -> Any:
    given = _table(table, name)
    _check_keys(given, [f.name for f in fields(kind)], name)
    if "name" not in given and "name" in {f.name for f in fields(kind)}:
        raise ArgumentError(f"[{name}] has no name: expected one")
    return kind(**given)


def _with_settings(kind: Any, table: Any, name: str) -> Any:
    given = dict(_table(table, name))
    own = {f.name: given.pop(f.name) for f in fields(kind) if f.name in given}
    return kind(**own, settings=given)


def _table(value: Any, name: str) -> Table:
    if not isinstance(value, Mapping):
        raise ArgumentError(f"{name} is {value!r}: expected a table")
    return value


def _check_keys(table: Any, known: Any, name: str) -> None:
    unknown = [key for key in _table(table, name) if key not in known]
    if unknown:
        raise ArgumentError(f"{name}.{unknown[0]} is not known: expected {', '.join(known)}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _settings(table: Table) -> str:
    return "".join(f"-{name}{_plain(value)}" for name, value in sorted(table.items()))


def _plain(value: Any) -> str:
    """A value as part of a file's name."""
    if isinstance(value, Mapping):
        rest = {key: inner for key, inner in value.items() if key != "name"}
        return f"{_plain(value.get('name', ''))}{_settings(rest)}"
    if isinstance(value, (list, tuple)):
        return "_".join(map(_plain, value))
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in str(value))
