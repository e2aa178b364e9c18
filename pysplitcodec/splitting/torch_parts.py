"""Modules that halves of a PyTorch model hold beside the model's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pysplitcodec.errors import SplitError


class Mode(nn.Module):
    """A constant of the model's code that depends on the mode, as in `dropout(x, training=...)`."""

    def __init__(self, training: Any, evaluating: Any) -> None:
        super().__init__()
        self.values = (evaluating, training)

    def forward(self) -> Any:
        """Give the constant for the mode that this module is in."""
        return self.values[self.training]


class OnlyMode(nn.Module):
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


class OnlyShape(nn.Module):
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


class OnlyCount(nn.Module):
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


class ChannelsLast(nn.Module):
    """A half that takes its inputs of four dimensions as (N, H, W, C) instead of (N, C, H, W).

    For the tail of a head that was exported with `channels_last`.
    """

    def __init__(self, half: nn.Module) -> None:
        super().__init__()
        self.inner = half

    def forward(self, *tensors: torch.Tensor) -> Any:
        """Give what the half gives for the tensors, in its own order of dimensions."""
        return self.inner(*map(to_channels_first, tensors))


def to_channels_first(x: torch.Tensor) -> torch.Tensor:
    """(N, H, W, C) to (N, C, H, W); tensors of other than four dimensions stay as they are."""
    return x.permute(0, 3, 1, 2) if x.dim() == 4 else x


def to_channels_last(x: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) to (N, H, W, C); tensors of other than four dimensions stay as they are."""
    return x.permute(0, 2, 3, 1) if x.dim() == 4 else x


class Dataclass(torch.nn.Module):
    """Puts tensors back into an instance of a dataclass, in which the model passes them."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, fields: dict[str, Any]) -> Any:
        """Give the instance; `__init__` has run once, on the example, and may not run twice."""
        instance: Any = object.__new__(self.kind)
        for name, value in fields.items():
            object.__setattr__(instance, name, value)
        return instance
