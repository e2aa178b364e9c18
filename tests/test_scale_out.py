"""What docs/scale-out.md has for other servers, as far as it runs without them."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from pysplitcodec.runtime import open_model

PAGE = (Path(__file__).parents[1] / "docs/scale-out.md").read_text(encoding="utf-8")


class Tensor(NamedTuple):
    """Stands for Triton's, and so do the ones below."""

    name: str
    array: np.ndarray

    def as_numpy(self) -> np.ndarray:
        return self.array


class Response(NamedTuple):
    output_tensors: Sequence[Tensor] = ()
    error: Any = None


def triton() -> ModuleType:
    module: Any = ModuleType("triton_python_backend_utils")
    module.Tensor, module.InferenceResponse, module.TritonError = Tensor, Response, RuntimeError
    module.get_input_tensor_by_name = lambda request, name: request[name]
    return module  # type: ignore[no-any-return]


def test_triton_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name, reason='needs "pysplitcodec[onnx]"')
    from toy_tail import toy_codec, write

    folder = tmp_path / "models" / "tail" / "1"
    folder.mkdir(parents=True)
    tail, _ = write(folder)
    (code,) = re.findall(r"```python\n(from pathlib.*?)```", PAGE, re.DOTALL)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", triton())
    found: dict[str, Any] = {}
    exec(code, found)
    model = found["TritonPythonModel"]()
    model.initialize({"model_repository": str(folder.parent), "model_version": "1"})

    codec, rng = toy_codec(), np.random.default_rng(0)
    features = rng.choice(codec.codebook.centroids, (3, *codec.shape)).astype(np.float32)
    sent = [codec.encode(feature) for feature in features]

    def request(*frames: bytes) -> dict[str, Tensor]:
        array = np.empty(len(frames), object)
        array[:] = frames
        return {"frame": Tensor("frame", array)}

    good, bad, one = model.execute(
        [request(*sent), request(sent[0], sent[1][:-1]), request(sent[2])]
    )
    scores = open_model(tail)(features)[0]
    assert [tensor.name for tensor in good.output_tensors] == ["scores"]
    assert good.error is None and np.array_equal(good.output_tensors[0].array, scores)
    assert not bad.output_tensors and isinstance(bad.error, RuntimeError)
    assert np.array_equal(one.output_tensors[0].array, scores[2:])


def test_kserve_resource() -> None:
    yaml = pytest.importorskip("yaml", reason="needs pyyaml")
    (text,) = re.findall(r"```yaml\n(apiVersion.*?)```", PAGE, re.DOTALL)
    resource = yaml.safe_load(text)
    (container,) = resource["spec"]["predictor"]["containers"]
    port = container["ports"][0]["containerPort"]
    assert container["args"][container["args"].index("--port") + 1] == str(port)
    assert resource["metadata"]["annotations"]["prometheus.kserve.io/port"] == str(port)
    paths = {
        container[probe]["httpGet"]["path"]: container[probe]["httpGet"]["port"]
        for probe in ("readinessProbe", "livenessProbe")
    }
    assert paths == {"/v2/health/ready": port, "/v2/health/live": port}
