"""Models to train, by name."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pysplitcodec.errors import ArgumentError, MissingDependencyError, ModelError


def build_model(name: str, classes: int, options: dict[str, Any]) -> nn.Module:
    """The model `name`, with parameters drawn by torch's generator.

    name: "resnet20", "resnet32", "resnet44" or "resnet56", for images of 32x32; "torchvision:NAME"
    or "timm:NAME"; "MODULE:FUNCTION", a function of Python that is called with classes=...
    options: further arguments of the function.

    Raises ArgumentError, MissingDependencyError.
    """
    module, _, function = name.rpartition(":")
    if not module:
        depth = name.removeprefix("resnet") if name.startswith("resnet") else ""
        if depth not in ("20", "32", "44", "56"):
            raise ArgumentError(
                f"model is {name!r}: expected resnet20, 32, 44 or 56, torchvision:NAME, timm:NAME "
                "or MODULE:FUNCTION"
            )
        return CifarResNet((int(depth) - 2) // 6, classes, **options)
    if module == "torchvision":
        make = getattr(torchvision_models(), function, None)
        return _called(name, make, {"weights": None, "num_classes": classes, **options})
    if module == "timm":
        torchvision_models()  # which timm imports
        make = _imported("timm").create_model
        return _called(name, make, {"model_name": function, "num_classes": classes, **options})
    return _called(
        name, getattr(_imported(module), function, None), {"classes": classes, **options}
    )


def torchvision_models() -> Any:
    """torchvision's models, also beside another torch than its own.

    Its C++ operators are missing there and its import would fail; no model that classifies needs
    them.  Raises MissingDependencyError.
    """
    global _library
    if _library is None:
        _library = torch.library.Library("torchvision", "FRAGMENT")
        for missing in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, missing):
                _library.define(
                    f"{missing}(Tensor boxes, Tensor scores, float threshold) -> Tensor"
                )
    return _imported("torchvision.models")


_library: Any = None  # what is defined through it goes with it


def put_weights(model: nn.Module, path: Path) -> str:
    """Put parameters of a .safetensors file, or of what `torch.save` wrote, into a model.

    A file of torch.save is read without running code in it; a dict under "state_dict", and names
    that begin with "module.", are taken as such.  Gives the SHA-256 of the file.

    Raises ModelError.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            tensors = load(data)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
            tensors = tensors.get("state_dict", tensors)
        model.load_state_dict({name.removeprefix("module."): t for name, t in tensors.items()})
    except Exception as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ModelError(f"{path} does not fit the model: {reason}") from None
    return hashlib.sha256(data).hexdigest()


class CifarResNet(nn.Module):
    """ResNet-20 to ResNet-56 of He et al. (2015, section 4.2), for 32x32 images.

    blocks: per stage, 3 for ResNet-20.  Modules are named as in widely used checkpoints.
    """

    def __init__(self, blocks: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._layer(16, 16, blocks, 1)
        self.layer2 = self._layer(16, 32, blocks, 2)
        self.layer3 = self._layer(32, 64, blocks, 2)
        self.linear = nn.Linear(64, classes)

    @staticmethod
    def _layer(planes_in: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
        rest = [_Residual(planes, planes, 1) for _ in range(blocks - 1)]
        return nn.Sequential(_Residual(planes_in, planes, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, classes] of images [n, 3, 32, 32]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.avg_pool2d(x, x.size()[3])
        return self.linear(x.view(x.size(0), -1))


class _Residual(nn.Module):
    """A block of option A: the shortcut has no parameters."""

    def __init__(self, planes_in: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(planes_in, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.widen = planes - planes_in
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.widen:
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, self.widen // 2, self.widen // 2))
        return F.relu(y + x)


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"model: module {module!r} cannot be imported: {error}"
        ) from None


def _called(name: str, function: Any, arguments: dict[str, Any]) -> nn.Module:
    if not callable(function):
        raise ArgumentError(f"model is {name!r}: there is no such function")
    try:
        model = function(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"model {name!r} cannot be made: {error}") from None
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model {name!r} gives a {type(model).__name__}: expected a Module")
    return model
