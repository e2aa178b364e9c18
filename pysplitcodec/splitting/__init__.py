"""Where a model can be cut, and cutting it.

>>> cuts = list_cuts("model.tflite")                        # doctest: +SKIP
>>> head, tail = split("model.tflite", at=cuts[3])          # doctest: +SKIP

Importing this package imports neither LiteRT nor flatbuffers nor onnx nor torch; the functions
import what they need when called.
"""

from __future__ import annotations

from pysplitcodec.runtime import ModelSource, model_format
from pysplitcodec.splitting.cuts import At, Cut, Split
from pysplitcodec.splitting.verify import Difference, verify

__all__ = ["Cut", "Difference", "Split", "list_cuts", "split", "verify"]


def list_cuts(model: ModelSource) -> list[Cut]:
    """Every tensor at which `model` can be cut, in the order of computation.

    model: a TFLite or ONNX model, as a path or bytes.

    A tensor qualifies when nothing else that depends on the input has to be sent with it. The
    model's own inputs and outputs are left out.  The list may be empty.

    Raises ModelError if `model` is not sound, SplitError if it is of a kind that cannot be split
    at all, MissingDependencyError without the extra "tflite" or "onnx".
    """
    if model_format(model) == "onnx":
        from pysplitcodec.splitting import onnx_cuts

        return onnx_cuts.list_cuts(model)
    from pysplitcodec.splitting import tflite

    return tflite.list_cuts(model)


def split(model: ModelSource, at: At) -> Split:
    """Cut `model` in two at `at`: a Cut, its number, or the tensor's name.

    model: a TFLite or ONNX model, as a path or bytes; the halves are of the same format.  at: of
    an ONNX model also a list of names of tensors that are to be sent together.

    The head takes the model's inputs and gives the tensor; the tail takes the tensor and gives
    the model's outputs.

    Raises SplitError, which says what is in the way and what could be had instead, if the model
    cannot be cut there; otherwise as `list_cuts`.
    """
    if model_format(model) == "onnx":
        from pysplitcodec.splitting import onnx_cuts

        return onnx_cuts.split(model, at)
    from pysplitcodec.splitting import tflite

    return tflite.split(model, at)
