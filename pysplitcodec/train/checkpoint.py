"""Trained tensors as files: safetensors, named by all that they depend on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pysplitcodec.errors import CheckpointError

FORMAT = 1  # of the files, and of what training does: old results are not taken for new ones


def key_of(depends: Mapping[str, Any]) -> str:
    """A name for what depends on `depends`, plain JSON values, and nothing else."""
    text = json.dumps({"format": FORMAT, **depends}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def save(path: Path, tensors: Mapping[str, Tensor], key: str, about: Mapping[str, Any]) -> None:
    """Write tensors, and `about` as JSON; a file that is there stays whole until it is replaced."""
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    save_file(plain, part, {"format": str(FORMAT), "key": key, "about": json.dumps(about)})
    part.replace(path)


def load(path: Path, key: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, and what was said about them.

    Raises CheckpointError if `path` is none of our files, or was made of something else than
    what `key` stands for.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            stored = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(stored.get("about", ""))
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is no checkpoint: {error}") from None
    if stored.get("format") != str(FORMAT):
        raise CheckpointError(
            f"{path} has format {stored.get('format')!r}: this version reads {FORMAT}"
        )
    if stored.get("key") != key:
        raise CheckpointError(
            f"{path} was made of another model, data, seed or schedule: remove it to train anew"
        )
    return tensors, about


def restore(module: Any, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put tensors into a module; raises CheckpointError if names or shapes are not the module's."""
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(f"{path} is of another model: {reason}") from None
