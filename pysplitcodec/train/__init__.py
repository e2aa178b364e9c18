"""Training of split models: bottleneck, codebook and both halves together.

>>> runs = train_all("recipe.toml", "runs")                 # doctest: +SKIP

Importing this package imports numpy alone; the functions import torch when called.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pysplitcodec.errors import ArgumentError, MissingDependencyError
from pysplitcodec.train.recipe import Recipe, read_recipes

__all__ = ["Recipe", "read_recipes", "train", "train_all"]

# Told of a stage, its steps done and in all, and terms of the loss.
Progress = Callable[[str, int, int, Mapping[str, float]], None]


def train(
    recipe: Recipe,
    folder: str | os.PathLike[str],
    *,
    stages: str | os.PathLike[str] | None = None,
    halves: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Carry out a recipe; write run.json into `folder`, and give what is in it.

    stages: where trained stages are kept, and found again by other runs, or by this one after an
    interruption; by default a folder `stages` beside `folder`.  halves: whether to write head.pt2,
    tail.pt2 and codec.json too, for `splitcodec run` and `serve`.  progress: told of each step.

    A run that is there is not carried out again, but for halves that were not written before.

    Raises ArgumentError, ModelError, CheckpointError if a file is of something else, TrainingError
    if the loss becomes NaN, SplitError if the model cannot be cut at one tensor there,
    MissingDependencyError without torch or safetensors.
    """
    folder = Path(folder)
    path = folder / "run.json"
    if path.exists():
        found = _done(path, recipe)
        if not halves or recipe.split is None or (folder / "head.pt2").exists():
            return found
    with _needs_torch():
        from pysplitcodec.train.run import Run
    run = Run(recipe, folder, Path(stages or folder.parent / "stages"), progress)
    found = run.carry_out()
    if halves:
        run.write_halves()
    return found


def train_all(
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    halves: bool | None = None,
    threads: int | None = None,
    begin: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """Carry out all recipes of a TOML file, each in a folder of its own below `folder`.

    halves: as for `train`; by default if there is one recipe.  threads: of torch; by default its
    own choice.  begin: told of each run's name before it.  Several processes may work on one
    folder: what another is at is left to it.  Gives run.json of all that are done, by name.
    """
    recipes = read_recipes(path)
    names = [recipe.name for recipe in recipes]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ArgumentError(f"the grid has {min(twice)} twice: expected runs that differ")
    with _needs_torch():
        import torch

        from pysplitcodec.train.parts import check_parts
    for recipe in recipes:  # or what is wrong with the last would show after hours
        check_parts(recipe)
    if threads is not None:
        torch.set_num_threads(threads)
    found = {}
    for name, recipe in zip(names, recipes):
        if begin is not None:
            begin(name)
        with _claimed(Path(folder) / name) as free:
            if free:
                found[name] = train(
                    recipe,
                    Path(folder) / name,
                    halves=len(recipes) == 1 if halves is None else halves,
                    progress=progress,
                )
    return found


@contextmanager
def _needs_torch() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(
            f"training needs {error.name}: pip install torch==2.13.0 'pysplitcodec[train]'"
        ) from None


@contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Whether a run is nobody else's at present; it is ours then, until this ends."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _done(path: Path, recipe: Recipe) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict) or found.get("recipe") != recipe.to_dict():
        raise ArgumentError(f"{path} is of another recipe: remove it, or give another folder")
    return found
