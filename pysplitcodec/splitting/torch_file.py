"""Cutting PyTorch models that are files: what `torch.export.save` wrote, .pt2."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from pysplitcodec.errors import SplitError
from pysplitcodec.runtime import ModelSource, one_line
from pysplitcodec.runtime_torch import Arguments, head_arguments, read_program
from pysplitcodec.splitting.torch_model import TorchPlaces


class TorchFileGraph(TorchPlaces[bytes]):
    """A .pt2 file (path or bytes) to be cut; its halves are such files.

    Modules keep their paths, and their parameters the names, that they had when it was saved.

    Raises ModelError if torch rejects the file, SplitError if it cannot be split.
    """

    def __init__(self, model: ModelSource) -> None:
        module, self._example = read_module(model)
        super().__init__(module, self._example)

    def halves(self, sent: Sequence[int]) -> tuple[bytes, bytes]:
        """As `ModelGraph.halves`."""
        head, tail = self._modules_of_halves(sent)
        example = head_arguments(self._example)
        with torch.no_grad():
            features = head(*example.args, **example.kwargs)
        return save(head, example), save(tail, Arguments(tuple(tree_leaves(features)), {}))


def read_module(model: ModelSource) -> tuple[nn.Module, Arguments]:
    """Read a .pt2 file (path or bytes): the module, with its parts under their paths if torch can
    find them again, and an example of its input.

    Raises ModelError if torch rejects the file, SplitError if it holds no example.
    """
    program = read_program(model)
    if program.example_inputs is None:
        raise SplitError("the file holds no example of the model's input: export it anew")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch, about itself
        try:
            module: nn.Module = torch.export.unflatten(program)
        except Exception:  # as for halves whose modules run several times
            module = program.module()
            for method in ("train", "eval"):  # which are there to refuse
                vars(module).pop(method, None)
    for part in module.modules():  # it knows no other mode than that in which it was saved
        part.training = False
    return module, Arguments(*program.example_inputs)


def save(module: nn.Module, example: Arguments) -> bytes:
    """Give what `torch.export.save` writes of `module`, whose first dimensions stay free.

    Raises SplitError if torch cannot export the module.
    """

    def free(value: Any) -> Any:
        is_batch = isinstance(value, torch.Tensor) and value.dim()
        return {0: torch.export.Dim.AUTO} if is_batch else None

    args, kwargs = tree_map(free, tuple(example))
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about itself
        try:
            program = torch.export.export(
                module, *example, dynamic_shapes=(*args, *kwargs.values()), strict=False
            )
        except Exception as error:
            raise SplitError(f"torch.export cannot export the half: {one_line(error)}") from error
        torch.export.save(program, file)
    return file.getvalue()
