"""Running PyTorch models that `torch.export` saved (.pt2), in the way of `pysplitcodec.runtime`."""

from __future__ import annotations

import io
import warnings
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from pysplitcodec.errors import MissingDependencyError, ModelError
from pysplitcodec.runtime import (
    Array,
    ModelSource,
    TensorInfo,
    check_dtypes,
    check_threads,
    one_line,
    read_bytes,
)


class TorchModel:
    """A model saved by `torch.export.save`, ready to be called; as `runtime.TFLiteModel`.

    model: path or bytes.  Reading it unpickles what it holds, which can run any code: take
    models only from whom you trust.  threads: how many CPU threads one call may use; the setting
    is the whole process's.

    Raises ModelError if torch rejects the model, MissingDependencyError without torch.
    """

    platform: ClassVar[str] = "pytorch"

    def __init__(self, model: ModelSource, threads: int = 1) -> None:
        check_threads(threads)
        self._threads = threads
        program = read_program(model)
        self._module = program.module()
        nodes = {node.name: node for node in program.graph.nodes}
        signature = program.graph_signature
        self.inputs = [_info(name, nodes) for name in signature.user_inputs if name in nodes]
        self.outputs = [_info(name, nodes) for name in signature.user_outputs if name in nodes]

    def __call__(self, *arrays: npt.ArrayLike) -> list[Array]:
        """Run the model on one array per input, in the order of `inputs`.

        Dtypes must be those of `inputs`, and so must dimensions that are not free.  Returns a new
        array per output.  Raises ModelError if an array does not fit or the model fails.
        """
        import torch
        from torch.utils._pytree import tree_leaves

        given = [np.asarray(array) for array in arrays]
        check_dtypes(given, self.inputs)
        torch.set_num_threads(self._threads)
        # copied, for torch cannot be told that an array is not to be written
        tensors = [torch.from_numpy(np.array(array)) for array in given]
        try:
            with torch.no_grad():
                results = self._module(*tensors)
        except (RuntimeError, AssertionError, TypeError, ValueError) as error:
            raise ModelError(f"the model failed to run: {one_line(error)}") from error
        return [result.numpy() for result in tree_leaves(results)]


def read_program(model: ModelSource) -> Any:
    """Read a .pt2 file as a `torch.export.ExportedProgram`; raises as `TorchModel`."""
    data = read_bytes(model)
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            "PyTorch models need torch: pip install torch==2.13.0 "
            "--extra-index-url https://download.pytorch.org/whl/cpu"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own, about itself
            return torch.export.load(io.BytesIO(data))
    except Exception as error:  # it has no exception of its own
        raise ModelError(f"not a model that torch.export saved: {one_line(error)}") from error


def _info(name: str, nodes: dict[str, Any]) -> TensorInfo:
    value = nodes[name].meta["val"]
    shape = tuple(size if isinstance(size, int) else 1 for size in value.shape)
    return TensorInfo(name, shape, str(value.dtype).partition(".")[2], None, None)
