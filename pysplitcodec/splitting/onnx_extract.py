"""Writing part of an ONNX model as a model of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pysplitcodec.splitting.model_graph import bits
from pysplitcodec.splitting.onnx_file import bodies, package
from pysplitcodec.splitting.onnx_graph import Graph, function_key, read_by


def extract(graph: Graph, nodes: int, inputs: Sequence[Any], outputs: Sequence[Any]) -> bytes:
    """Write `nodes` (bits) as an ONNX model from `inputs` to `outputs` (`ValueInfoProto`s).

    The new model holds nothing that its nodes do not use: weights and local functions are left
    out, and so are types that can be inferred.  Everything that describes the model as a whole is
    kept.
    """
    old = graph.model.graph
    kept = [old.node[number] for number in bits(nodes)]
    ends = {value.name for value in (*inputs, *outputs)}
    used = set(ends)
    # Types of other results follow from these, and tools that change a model's inputs leave the
    # types inside as they were, which runtimes believe.
    untyped = {t for node in kept if node.domain not in ("", "ai.onnx") for t in node.output}
    for node in kept:
        used |= read_by(node)
        used.update(node.output)
    annotations = [a for a in old.quantization_annotation if a.tensor_name in used]
    used.update(p.value for a in annotations for p in a.quant_parameter_tensor_names)

    # training_info goes: it trains the whole.
    new = _copy(graph.model, ("graph", "functions", "training_info"))
    new.functions.extend(_functions(graph, kept))
    parts = ("input", "output", "initializer", "sparse_initializer", "value_info")
    new.graph.CopyFrom(_copy(old, ("node", "quantization_annotation", *parts)))
    new.graph.node.extend(kept)
    new.graph.quantization_annotation.extend(annotations)
    new.graph.initializer.extend(t for t in old.initializer if t.name in used)
    new.graph.sparse_initializer.extend(t for t in old.sparse_initializer if t.values.name in used)
    new.graph.value_info.extend(v for v in old.value_info if v.name in untyped - ends)
    new.graph.input.extend(inputs)
    # Files of before IR version 4 list their weights among the inputs.
    new.graph.input.extend(i for i in old.input if i.name in graph.initialisers and i.name in used)
    new.graph.output.extend(outputs)
    return bytes(new.SerializeToString())


def _copy(message: Any, without: Iterable[str]) -> Any:
    """A copy of a protobuf message that lacks some fields, whatever other fields there are."""
    new = type(message)()
    for field, value in message.ListFields():
        if field.name in without:
            continue
        if hasattr(value, "ListFields"):
            getattr(new, field.name).CopyFrom(value)
        elif isinstance(value, (int, float, str, bytes)):
            setattr(new, field.name, value)
        else:
            getattr(new, field.name).extend(value)
    return new


def _functions(graph: Graph, nodes: Iterable[Any]) -> list[Any]:
    """The local functions that `nodes` call, and those that these call, in the old order."""
    called = set()
    left = list(nodes)
    while left:
        node = left.pop()
        left += [inner for body in bodies(node) for inner in body.node]
        key = function_key(node)
        if key in graph.functions and key not in called:
            called.add(key)
            left += graph.functions[key].node
    return [function for key, function in graph.functions.items() if key in called]


def value_info(name: str, type_: Any) -> Any:
    """An input or output `name` of the type `type_`, a `TypeProto`."""
    return package().helper.make_value_info(name, type_)
