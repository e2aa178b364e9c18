"""Open Inference Protocol messages: what is written can be read, and nothing else can."""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pysplitcodec.serve import protocol
from pysplitcodec.serve.protocol import InferResponse, ProtocolError

NUMBERS = sorted(set(protocol.DATATYPES.values()) - {"object"})


def frames(*items: bytes) -> np.ndarray:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def message(inputs: Any, binary: bytes = b"", **more: Any) -> tuple[bytes, int]:
    text = json.dumps({"inputs": inputs, **more}).encode()
    return text + binary, len(text)


def tensor(datatype: str = "FP32", shape: Any = (1,), **more: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": datatype, "shape": shape, **more}


def binary_tensor(size: Any, datatype: str = "FP32", shape: Any = (1,)) -> dict[str, Any]:
    return tensor(datatype, shape, parameters={"binary_data_size": size})


def read(inputs: Any, binary: bytes = b"", **more: Any) -> protocol.InferRequest:
    return protocol.decode_request(*message(inputs, binary, **more))


ARRAYS = st.sampled_from(NUMBERS).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))
)
TENSORS = st.dictionaries(st.text(), ARRAYS | st.lists(st.binary()).map(lambda x: frames(*x)))


def assert_same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert list(ours) == list(theirs)
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype
        np.testing.assert_array_equal(array, theirs[name])


@settings(derandomize=True, deadline=None)
@given(TENSORS, st.text())
def test_request_round_trip(tensors: dict[str, np.ndarray], id: str) -> None:
    sent = protocol.encode_request(tensors, id=id)
    request = protocol.decode_request(sent.body, sent.json_len)
    assert_same(tensors, request.inputs)
    assert (request.id, request.binary, request.outputs) == (id, True, {})
    assert all(array.flags.writeable for array in request.inputs.values())


@settings(derandomize=True, deadline=None)
@given(TENSORS, st.data())
def test_response_round_trip(tensors: dict[str, np.ndarray], data: st.DataObject) -> None:
    def json_holds(array: np.ndarray) -> bool:
        return array.dtype != object and bool(array.dtype.kind != "f" or np.isfinite(array).all())

    binary = {
        name
        for name, array in tensors.items()
        if not json_holds(array) or data.draw(st.booleans(), label=name)
    }
    response = InferResponse("model", tensors, {"tail_us": 1.5}, "7")
    sent = protocol.encode_response(response, binary)
    back = protocol.decode_response(sent.body, sent.json_len)
    assert_same(tensors, back.outputs)
    assert (back.model, back.parameters, back.id) == ("model", {"tail_us": 1.5}, "7")


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.data())
def test_damaged_requests_are_refused_or_read(data: st.DataObject) -> None:
    sent = protocol.encode_request(
        {"frame": frames(b"abc", b""), "x": np.arange(3, dtype=np.float32)}, id="1"
    )
    body = bytearray(sent.body)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at] = data.draw(st.integers(0, 255))
    body = body[: data.draw(st.integers(0, len(body)))]
    json_len = data.draw(st.none() | st.integers(0, len(sent.body) + 1) | st.just(sent.json_len))
    with contextlib.suppress(ProtocolError):
        protocol.decode_request(bytes(body), json_len)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.dictionaries(st.sampled_from(["name", "datatype", "shape", "data", "parameters"]), JSON))
def test_any_json_is_refused_or_read(entry: dict[str, Any]) -> None:
    for top in (entry, [entry], [tensor(data=[1]) | entry], [tensor("INT8") | entry]):
        for text in (json.dumps({"inputs": top}), json.dumps(top)):
            with contextlib.suppress(ProtocolError):
                protocol.decode_request(text.encode(), None)


def test_binary_layout() -> None:
    sent = protocol.encode_request({"frame": frames(b"ab", b""), "x": np.float32([1.0])})
    assert sent.json_len is not None
    assert sent.body[sent.json_len :] == b"\2\0\0\0ab\0\0\0\0" + struct.pack("<f", 1.0)
    assert sent.headers() == {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(sent.json_len),
    }
    top = json.loads(sent.body[: sent.json_len])
    assert top["inputs"][0] == {
        "name": "frame",
        "datatype": "BYTES",
        "shape": [2],
        "parameters": {"binary_data_size": 10},
    }


def test_big_endian_and_strided_arrays_are_written_in_order() -> None:
    array = np.arange(12, dtype=">i4").reshape(3, 4).T
    sent = protocol.encode_request({"x": array})
    back = protocol.decode_request(sent.body, sent.json_len).inputs["x"]
    np.testing.assert_array_equal(back, array)
    assert back.dtype.isnative


@pytest.mark.parametrize("data", [[1, 2.5, 3, 4], [[1, 2.5], [3, 4]]])
def test_json_data_flat_or_nested(data: list[Any]) -> None:
    request = read([tensor(shape=[2, 2], data=data)])
    np.testing.assert_array_equal(request.inputs["x"], np.float32([[1, 2.5], [3, 4]]))


def test_float32_survives_json() -> None:
    array = np.frombuffer(np.random.default_rng(0).bytes(4000), np.float32)
    array = array[np.isfinite(array)]
    sent = protocol.encode_response(InferResponse("m", {"x": array}), ())
    assert sent.json_len is None
    assert sent.headers() == {"Content-Type": "application/json"}
    assert protocol.decode_response(sent.body, None).outputs["x"].tobytes() == array.tobytes()


def test_which_outputs_are_wanted_as_binary() -> None:
    inputs = [tensor(data=[1])]
    outputs = [
        {"name": "a", "parameters": {"binary_data": True}},
        {"name": "b", "parameters": {"binary_data": False}},
        {"name": "c"},
    ]
    assert read(inputs, outputs=outputs).outputs == {"a": True, "b": False, "c": False}
    request = read(inputs, outputs=outputs, parameters={"binary_data_output": True})
    assert request.outputs == {"a": True, "b": False, "c": True}
    assert not read(inputs).binary


@pytest.mark.parametrize(
    ("body", "json_len", "says"),
    [
        (b"", None, "not JSON"),
        (b"\xff{}", None, "not JSON"),
        (b"[" * 100_000, None, "not JSON"),
        (b"[1]", None, "no object"),
        (b"{}", 3, "body has 2 bytes"),
        (b'{"inputs": []} ', 14, "1 bytes behind"),
        (b"{}", None, "inputs is None"),
        (b'{"inputs": {}}', None, "list of objects"),
        (b'{"inputs": [1]}', None, "list of objects"),
        (b'{"inputs": [], "id": 1}', None, "id is 1"),
        (b'{"inputs": [], "parameters": 1}', None, "expected an object"),
        (b'{"inputs": [], "parameters": {"binary_data_output": 1}}', None, "true or false"),
        (b'{"inputs": [], "outputs": 1}', None, "list of objects"),
        (b'{"inputs": [], "outputs": [{"name": "a"}, {"name": "a"}]}', None, "'a' twice"),
        (b" " * (4 << 20) + b"{}", None, "the limit is 4194304"),
    ],
)
def test_bad_messages(body: bytes, json_len: int | None, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        protocol.decode_request(body, json_len)


@pytest.mark.parametrize(
    ("entry", "binary", "says"),
    [
        ({"datatype": "FP32", "shape": [1], "data": [1]}, b"", "whose name is None"),
        (tensor(), b"", "either data or"),
        (binary_tensor(4) | {"data": [1]}, b"\0" * 4, "either data or"),
        (tensor("FP8", data=[1]), b"", "unknown"),
        (tensor([], data=[1]), b"", "unknown"),
        (tensor(shape=None, data=[1]), b"", "has shape None"),
        (tensor(shape=[-1], data=[1]), b"", "has shape"),
        (tensor(shape=[True], data=[1]), b"", "has shape"),
        (tensor(shape=[1.0], data=[1]), b"", "has shape"),
        (tensor(shape=[1] * 9, data=[1]), b"", "has shape"),
        (tensor(shape=[1 << 40], data=[1]), b"", "has shape"),
        (tensor(shape=[0, 1 << 20, 1 << 20], data=[]), b"", "has shape"),
        (tensor(shape=[1 << 28], data=[1]), b"", "do not fit its shape"),
        (tensor(shape=[2], data=[1]), b"", "do not fit its shape"),
        (tensor(shape=[2, 2], data=[[1, 2], [3]]), b"", "do not fit its shape"),
        (tensor(shape=[2, 2], data=[[1, 2], 3]), b"", "do not fit its shape"),
        (tensor(shape=[2], data=[[1], [2]]), b"", "do not fit its shape"),
        (tensor(data=["1"]), b"", "another kind"),
        (tensor(data=[None]), b"", "another kind"),
        (tensor(data=[True]), b"", "another kind"),
        (tensor("INT8", data=[1.0]), b"", "another kind"),
        (tensor("INT8", data=[128]), b"", "do not fit INT8"),
        (tensor("UINT8", data=[-1]), b"", "do not fit UINT8"),
        (tensor("UINT64", data=[1 << 64]), b"", "do not fit UINT64"),
        (tensor("FP32", data=[1e39]), b"", "do not fit FP32"),
        (tensor("FP64", data=[10**400]), b"", "do not fit FP64"),
        (tensor("BYTES", data=["abc"]), b"", "JSON cannot hold"),
        (binary_tensor(-1), b"", "binary_data_size -1"),
        (binary_tensor(4.0), b"\0" * 4, "binary_data_size 4.0"),
        (binary_tensor(True), b"\0", "binary_data_size True"),
        (binary_tensor(1 << 60), b"\0" * 4, "4 bytes are left"),
        (binary_tensor(3), b"\0" * 3, "takes 4"),
        (binary_tensor(8), b"\0" * 8, "takes 4"),
        (binary_tensor(4), b"\0" * 5, "1 bytes behind its last tensor"),
        (binary_tensor(4, shape=[1 << 28]), b"\0" * 4, "takes 1073741824"),
        (binary_tensor(1, "BOOL"), b"\2", "other than 0 and 1"),
        (binary_tensor(3, "BYTES"), b"\0" * 3, "ends before element 0 of 1"),
        (binary_tensor(4, "BYTES"), b"\1\0\0\0", "element 0 of 1 .* has 1 bytes: 0 are left"),
        (binary_tensor(4, "BYTES"), b"\xff" * 4, "has 4294967295 bytes"),
        (binary_tensor(5, "BYTES"), b"\0" * 5, "behind its last element"),
        (binary_tensor(4, "BYTES", [2]), b"\0" * 4, "ends before element 1 of 2"),
        (binary_tensor(4, "BYTES", [1 << 28]), b"\0" * 4, "the limit for BYTES"),
    ],
)
def test_bad_tensors(entry: dict[str, Any], binary: bytes, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        read([entry], binary)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_json_numbers_are_finite(text: str) -> None:
    body = json.dumps({"inputs": [tensor(data=["?"])]}).replace('"?"', text).encode()
    with pytest.raises(ProtocolError):
        protocol.decode_request(body, None)


def test_tensor_named_twice() -> None:
    with pytest.raises(ProtocolError, match="names 'x' twice"):
        read([tensor(data=[1]), tensor(data=[1])])


@pytest.mark.parametrize("claimed", [binary_tensor(4, "BYTES", [65536]), binary_tensor(4)])
def test_claims_allocate_nothing_large(claimed: dict[str, Any]) -> None:
    """What a message claims costs at most what a full table of its frames would."""
    claimed["shape"] = [1 << 28] if claimed["datatype"] == "FP32" else claimed["shape"]
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            read([claimed], b"\0" * 4)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_messages_quote_little_of_what_they_are_given() -> None:
    with pytest.raises(ProtocolError) as raised:
        read([tensor("x" * 1_000_000 + "\n", data=[1])])
    assert len(str(raised.value)) < 300
    assert "\n" not in str(raised.value)


def test_json_cannot_hold_everything() -> None:
    with pytest.raises(ProtocolError, match="NaN or infinite"):
        protocol.encode_response(InferResponse("m", {"x": np.float32([np.nan])}), ())
    with pytest.raises(ProtocolError, match="BYTES"):
        protocol.encode_response(InferResponse("m", {"x": frames(b"a")}), ())
    with pytest.raises(ProtocolError, match="no datatype for complex64"):
        protocol.encode_request({"x": np.zeros(1, np.complex64)})


def test_json_len_header() -> None:
    assert protocol.parse_json_len(None) is None
    assert protocol.parse_json_len("17") == 17
    for bad in ("", "-1", "+1", "1.0", " 1", "1_0", "\u0663", "9" * 19):
        with pytest.raises(ProtocolError, match="expected a number"):
            protocol.parse_json_len(bad)


def test_response_needs_a_model_name() -> None:
    with pytest.raises(ProtocolError, match="model_name"):
        protocol.decode_response(b'{"outputs": []}', None)


def test_importing_the_package_is_light() -> None:
    heavy = ["starlette", "uvicorn", "httpx", "ai_edge_litert", "tflite_runtime"]
    code = (
        "import sys, pysplitcodec.serve as serve\n"
        "assert set(serve.__all__) <= set(dir(serve))\n"
        f"loaded = [name for name in {heavy} if name in sys.modules]\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
