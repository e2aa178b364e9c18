"""Running models, whole ones, heads and tails, of all formats in the same way.

TFLite models run on LiteRT where it is installed, otherwise on tflite-runtime (32-bit ARM boards).
Results are reproducible inside one runtime with one choice of `delegates` only: XNNPACK and the
built-in kernels differ in the last bits, and so do the two runtimes.  ONNX models run on ONNX
Runtime, on the CPU; `optimise` is the choice that counts there.  PyTorch models that
`torch.export` saved run on torch, see `pysplitcodec.runtime_torch`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Union

import numpy as np
import numpy.typing as npt

from pysplitcodec.errors import ArgumentError, MissingDependencyError, ModelError
from pysplitcodec.native import numpy_dtype

ModelSource = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview]
Array = npt.NDArray[Any]


class Backend(NamedTuple):
    """A package that can run TFLite models."""

    name: str
    interpreter: Any  # the module that holds Interpreter and OpResolverType


@functools.cache
def backend() -> Backend:
    """The runtime in use: LiteRT, or tflite-runtime where LiteRT is not installed.

    Raises MissingDependencyError when there is neither, or only a tflite-runtime that the
    installed numpy would break.
    """
    try:
        return Backend("LiteRT", importlib.import_module("ai_edge_litert.interpreter"))
    except ImportError as error:
        if error.name not in ("ai_edge_litert", "ai_edge_litert.interpreter"):
            raise MissingDependencyError(f"LiteRT is installed but broken: {error}") from error
    # tflite-runtime is built against numpy 1 without saying so.  With numpy 2 its import
    # succeeds and the first Interpreter raises a SystemError, so the version is asked first.
    if importlib.util.find_spec("tflite_runtime") is None:
        raise MissingDependencyError(
            'running TFLite models needs LiteRT: pip install "pysplitcodec[tflite]"'
        )
    if int(np.__version__.split(".")[0]) >= 2:
        raise MissingDependencyError(
            f"tflite-runtime does not work with numpy {np.__version__}: "
            'pip install "numpy<2", or pip install "pysplitcodec[tflite]" for LiteRT'
        )
    try:
        return Backend("tflite-runtime", importlib.import_module("tflite_runtime.interpreter"))
    except ImportError as error:
        raise MissingDependencyError(f"tflite-runtime is installed but broken: {error}") from error


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a model.

    shape: as the file has it; the leading dimension of an input may be varied where the model
        allows it.  Free dimensions of ONNX models, which may be any, are 1.
    dtype: name of its numpy dtype.
    scale, zero_point: real value = scale * (value - zero_point); None unless the whole tensor is
        quantised with one pair.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None

    def stored(self, real: Array) -> Array:
        """Real values as this input takes them: the nearest steps of its scale, if it has one."""
        dtype = np.dtype(self.dtype)
        if self.scale:
            limits = np.iinfo(dtype)
            steps = np.rint(real / self.scale) + (self.zero_point or 0)
            real = np.clip(steps, limits.min, limits.max)
        return real.astype(dtype)


class TFLiteModel:
    """A TFLite model, ready to be called.

    model: path or bytes.  threads: how many CPU threads one call may use.  delegates: whether
    XNNPACK may take over operators, which is faster.  Head, tail and whole model have to agree
    in it to give the same bits.

    A sound-looking file can still crash the process in `__init__` or in a call: run `probe`
    first on models from unknown sources.  Calls from several threads run one after another.

    Raises ModelError if the runtime rejects the model, MissingDependencyError without a runtime.
    """

    platform: ClassVar[str] = "tflite"

    def __init__(self, model: ModelSource, threads: int = 1, delegates: bool = True) -> None:
        check_threads(threads)
        self._threads = threads
        self._delegates = delegates
        # A copy of the file: the interpreter reads weights in place, and a file that is replaced
        # while mapped would crash it.
        self._data = read_bytes(model)
        self._lock = threading.Lock()
        self._load()
        self.inputs = [_info(d) for d in self._interpreter.get_input_details()]
        self.outputs = [_info(d) for d in self._interpreter.get_output_details()]
        self._shapes = [info.shape for info in self.inputs]

    def __call__(self, *arrays: npt.ArrayLike) -> list[Array]:
        """Run the model on one array per input, in the order of `inputs`.

        Shapes and dtypes must be those of `inputs`, but for the leading dimension, which may
        differ if the model can be resized.  Returns a new array per output.  Float results of a
        batch can differ in the last bits from those of its samples one by one.

        Raises ModelError if an array does not fit or the model fails.
        """
        given = [np.asarray(array) for array in arrays]
        check_dtypes(given, self.inputs)
        self._check_shapes(given)
        with self._lock:
            self._resize([array.shape for array in given])
            try:
                for place, array in zip(self._input_places, given):
                    self._interpreter.set_tensor(place, array)
                self._interpreter.invoke()
            except (RuntimeError, ValueError) as error:
                raise ModelError(f"the model failed to run: {one_line(error)}") from error
            return [self._interpreter.get_tensor(place) for place in self._output_places]

    def reset(self) -> None:
        """Set the variables of a model with memory back to what they are at the start."""
        with self._lock:
            self._interpreter.reset_all_variables()

    def _load(self) -> None:
        self._interpreter = _interpreter(self._data, self._threads, self._delegates)
        self._input_places = [d["index"] for d in self._interpreter.get_input_details()]
        self._output_places = [d["index"] for d in self._interpreter.get_output_details()]

    def _check_shapes(self, given: Sequence[Array]) -> None:
        for array, info in zip(given, self.inputs):
            # A scalar has no leading dimension to vary.
            fixed = array.shape[1:] == info.shape[1:] and array.ndim == len(info.shape)
            if not fixed or 0 in array.shape:
                raise ModelError(
                    f"input {info.name!r} must have shape {info.shape}, "
                    f"an array of shape {array.shape} was given"
                )

    def _resize(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Allocate for other input shapes, if they are others; the lock must be held."""
        if shapes == self._shapes:
            return
        try:
            for place, shape in zip(self._input_places, shapes):
                self._interpreter.resize_tensor_input(place, shape)
            self._interpreter.allocate_tensors()
            self._check_resized(shapes)
        except (RuntimeError, ValueError) as error:
            # A failed resize leaves the interpreter unusable; memory starts anew as well.
            self._load()
            self._shapes = [info.shape for info in self.inputs]
            wanted = ", ".join(map(str, self._shapes))
            got = ", ".join(map(str, shapes))
            raise ModelError(
                f"the model cannot be resized from {wanted} to {got}: {one_line(error)}"
            ) from error
        self._shapes = list(shapes)

    def _check_resized(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Refuse models that put several samples into one: some reshape to a fixed batch."""
        before = {info.shape[:1] for info in self.inputs}
        after = {shape[:1] for shape in shapes}
        if len(before) != 1 or len(after) != 1:
            return
        batch, new_batch = before.pop(), after.pop()
        for info, details in zip(self.outputs, self._interpreter.get_output_details()):
            shape = tuple(int(size) for size in details["shape"])
            if info.shape[:1] == batch and shape[:1] != new_batch:
                raise ModelError(f"its output {info.name!r} would have shape {shape}")


class OnnxModel:
    """An ONNX model, ready to be called; as `TFLiteModel`.

    model: path or bytes; weights in files beside the model need the path.  threads: how many CPU
    threads one call may use.  optimise: whether ONNX Runtime may rewrite the graph, which is
    faster.  It fuses operators, but not across a cut, so head and tail together then differ from
    the whole model in the last bits of floats.

    Raises ModelError if ONNX Runtime rejects the model, MissingDependencyError without it.
    """

    platform: ClassVar[str] = "onnx"

    def __init__(self, model: ModelSource, threads: int = 1, optimise: bool = True) -> None:
        check_threads(threads)
        runtime = _onnx_runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        # What goes wrong comes as an exception; nothing else is to be said on stderr.
        options.log_severity_level = 4
        if not optimise:
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # A file that cannot be read is to be told from one that is no model.
        data = read_bytes(model)
        source = data if isinstance(model, (bytes, bytearray, memoryview)) else os.fspath(model)
        # Its exceptions have no base class of their own.
        try:
            self._session = runtime.InferenceSession(
                source, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ModelError(f"ONNX Runtime rejects the model: {one_line(error)}") from error
        self.inputs = [_onnx_info(end) for end in self._session.get_inputs()]
        self.outputs = [_onnx_info(end) for end in self._session.get_outputs()]

    def __call__(self, *arrays: npt.ArrayLike) -> list[Array]:
        """Run the model on one array per input, in the order of `inputs`.

        Dtypes must be those of `inputs`, and so must dimensions that are not free.  Returns a new
        array per output.  Raises ModelError if an array does not fit or the model fails.
        """
        given = [np.asarray(array) for array in arrays]
        check_dtypes(given, self.inputs)
        feed = {info.name: array for info, array in zip(self.inputs, given)}
        try:
            results: list[Array] = self._session.run(None, feed)
        except Exception as error:
            raise ModelError(f"the model failed to run: {one_line(error)}") from error
        return results


class Runner(Protocol):
    """What runs on arrays, one per input."""

    inputs: list[TensorInfo]

    def __call__(self, *arrays: npt.ArrayLike) -> list[Array]: ...


class Model(Runner, Protocol):
    """A file of any format, ready to be called: see `TFLiteModel`."""

    platform: ClassVar[str]
    outputs: list[TensorInfo]


def is_module(model: object) -> bool:
    """Whether `model` is a `torch.nn.Module`, found out without torch."""
    return any(
        kind.__name__ == "Module" and kind.__module__ == "torch.nn.modules.module"
        for kind in type(model).__mro__
    )


def model_format(model: ModelSource) -> str:
    """Whether `model` is "tflite", "onnx" or "pt2": by a path's suffix, or by how it begins."""
    if isinstance(model, (bytes, bytearray, memoryview)):
        start = bytes(model[:8])
    else:
        suffix = Path(model).suffix.lower()
        if suffix in (".tflite", ".onnx", ".pt2"):
            return suffix[1:]
        try:
            with Path(model).open("rb") as file:
                start = file.read(8)
        except OSError as error:
            raise _unreadable(model, error) from error
    if start[:4] == b"PK\x03\x04":
        return "pt2"
    # An ONNX file has no mark of its own, but begins with its version, field 1, a number.
    return "onnx" if start[:1] == b"\x08" and start[4:] != b"TFL3" else "tflite"


def open_model(model: ModelSource, threads: int = 1, *, optimise: bool = True) -> Model:
    """Load `model`, whatever its format.  optimise: see `OnnxModel`."""
    form = model_format(model)
    if form == "pt2":
        from pysplitcodec.runtime_torch import TorchModel

        return TorchModel(model, threads)
    if form == "onnx":
        return OnnxModel(model, threads, optimise)
    return TFLiteModel(model, threads)


def probe(
    model: ModelSource, threads: int = 1, delegates: bool = True, timeout_s: float = 60.0
) -> None:
    """Load `model` and run it once on zeros, in a process of its own.

    The runtimes do not check all that they rely on, so a bad model can end the process that runs
    it.  Raises ModelError, with the reason, if the model is rejected, crashes or does not end
    within `timeout_s` seconds; MissingDependencyError without a runtime.
    """
    backend()
    code = (
        "import sys; from pysplitcodec.runtime import _probe_here; "
        "_probe_here(sys.argv[1], int(sys.argv[2]), sys.argv[3] == 'True')"
    )
    # The same packages as here; from an empty folder, for "-c" imports from the current one.
    path = os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.tflite")
        file.write_bytes(read_bytes(model))
        try:
            done = subprocess.run(
                [sys.executable, "-c", code, str(file), str(threads), str(delegates)],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ModelError(f"the model did not end within {timeout_s:g} s") from None
    if done.returncode == 0:
        return
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    last = lines[-1] if lines else "no message"
    if done.returncode == _REJECTED:
        raise ModelError(last)
    raise ModelError(
        f"the model crashes the process that runs it: {_ending(done.returncode)}, {last}"
    )


_REJECTED = 3


def _probe_here(path: str, threads: int, delegates: bool) -> None:
    """What `probe` runs in the other process."""
    try:
        model = TFLiteModel(path, threads, delegates)
        model(*(np.zeros(info.shape, info.dtype) for info in model.inputs))
    except ModelError as error:
        print(str(error), file=sys.stderr, flush=True)
        # Not through the interpreter's destructor, which a bad model can crash as well.
        os._exit(_REJECTED)


def _ending(returncode: int) -> str:
    if returncode < 0:
        try:
            return signal.Signals(-returncode).name
        except ValueError:
            return f"signal {-returncode}"
    return f"exit status {returncode}"


def check_threads(threads: int) -> None:
    """Raise ArgumentError unless `threads` is a number of threads."""
    if threads < 1:
        raise ArgumentError(f"threads must be at least 1, not {threads}")


def check_dtypes(given: Sequence[Array], inputs: Sequence[TensorInfo]) -> None:
    """Raise ModelError unless there is an array of the right dtype for each input."""
    if len(given) != len(inputs):
        names = ", ".join(repr(info.name) for info in inputs)
        raise ModelError(f"the model takes {len(inputs)} input(s) ({names}), {len(given)} given")
    for array, info in zip(given, inputs):
        if array.dtype != numpy_dtype(info.dtype):
            raise ModelError(
                f"input {info.name!r} must be {info.dtype}, an array of {array.dtype} was given"
            )


def read_bytes(model: ModelSource) -> bytes:
    """The bytes of `model`, a path or the bytes themselves; ModelError if it cannot be read."""
    if isinstance(model, (bytes, bytearray, memoryview)):
        return bytes(model)
    try:
        return Path(model).read_bytes()
    except OSError as error:
        raise _unreadable(model, error) from error


def _unreadable(model: str | os.PathLike[str], error: OSError) -> ModelError:
    return ModelError(f"cannot read the model {os.fspath(model)!r}: {error.strerror}")


def _interpreter(data: bytes, threads: int, delegates: bool) -> Any:
    """A new interpreter with its tensors allocated."""
    module = backend().interpreter
    if data[4:8] != b"TFL3":
        raise ModelError(
            f"not a TFLite model: bytes 4 to 8 are {data[4:8]!r} where b'TFL3' is expected"
        )
    kinds = module.OpResolverType
    try:
        interpreter = module.Interpreter(
            model_content=data,
            num_threads=threads,
            experimental_op_resolver_type=(
                kinds.BUILTIN if delegates else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            ),
        )
        interpreter.allocate_tensors()
        # Asked for here because they fail on inputs and outputs that have no numpy dtype.
        interpreter.get_input_details()
        interpreter.get_output_details()
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{backend().name} rejects the model: {one_line(error)}") from error
    return interpreter


def _info(details: dict[str, Any]) -> TensorInfo:
    parameters = details["quantization_parameters"]
    scales, zero_points = parameters["scales"], parameters["zero_points"]
    single = len(scales) == 1
    return TensorInfo(
        name=str(details["name"]),
        shape=tuple(int(size) for size in details["shape"]),
        dtype=np.dtype(details["dtype"]).name,
        scale=float(scales[0]) if single else None,
        zero_point=int(zero_points[0]) if single else None,
    )


def _onnx_runtime() -> Any:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingDependencyError(
            'running ONNX models needs ONNX Runtime: pip install "pysplitcodec[onnx]"'
        ) from error


# ONNX Runtime's names of types, and numpy's.
ONNX_DTYPES = {
    **{f"tensor({name})": name for name in ("bool", "float16", "complex64", "complex128")},
    **{
        f"tensor({kind}int{bits})": f"{kind}int{bits}"
        for kind in ("", "u")
        for bits in (8, 16, 32, 64)
    },
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}


def _onnx_info(end: Any) -> TensorInfo:
    dtype = ONNX_DTYPES.get(end.type)
    if dtype is None:
        raise ModelError(f"{end.name!r} is of the type {end.type}: expected an array of numbers")
    shape = tuple(size if isinstance(size, int) else 1 for size in end.shape)
    return TensorInfo(end.name, shape, dtype, None, None)


def one_line(error: Exception) -> str:
    """The message of a runtime or parser; LiteRT strings its complaints together without end."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + "..."
