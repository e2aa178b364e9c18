"""Modules that halves of a PyTorch model hold beside the model's own."""

from __future__ import annotations

from typing import Any

import torch

from pysplitcodec.errors import SplitError


class Mode(torch.nn.Module):
    """A constant of the model's code that depends on the mode, as in `dropout(x, training=...)`."""

    def __init__(self, training: Any, evaluating: Any) -> None:
        super().__init__()
        self.values = (evaluating, training)

    def forward(self) -> Any:
        """Give the constant for the mode that this module is in."""
        return self.values[self.training]


class OnlyMode(torch.nn.Module):
    """Refuses the mode in which the model runs other operators than those recorded."""

    def __init__(self, training: bool) -> None:
        super().__init__()
        self.recorded = training

    def forward(self) -> None:
        """Raise SplitError in the other mode."""
        if self.training != self.recorded:
            recorded = "train()" if self.recorded else "eval()"
            raise SplitError(
                "the model runs other operators in train() than in eval() mode, and was split in "
                f"{recorded} mode: switch the whole model and split it again"
            )


class OnlyShape(torch.nn.Module):
    """Refuses inputs of another shape than the one that the model's code has seen.

    shape: None stands for a dimension of any size.
    """

    def __init__(self, name: str, shape: tuple[int | None, ...]) -> None:
        super().__init__()
        self.name = name
        self.shape = shape

    def forward(self, x: torch.Tensor) -> None:
        """Raise SplitError if `x` has another shape."""
        fits = len(x.shape) == len(self.shape) and all(
            want is None or got == want for got, want in zip(x.shape, self.shape)
        )
        if not fits:
            raise SplitError(
                f"input {self.name} has shape {tuple(x.shape)}, but the model's code asks for "
                f"shapes and was split with an example of shape {self.shape}"
            )


class OnlyCount(torch.nn.Module):
    """Passes on the tensors that an operator such as `unbind` gives, if they are as many as once.

    The code that takes them apart has run once, on the example.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, tensors: Any) -> Any:
        """Give `tensors`; raise SplitError if there are more or fewer."""
        if len(tensors) != self.count:
            raise SplitError(
                f"an operator of the model gives {len(tensors)} tensors here and {self.count} for "
                "the example with which the model was split"
            )
        return tensors
