"""Negotiating for a PyTorch head, by the examples of the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pysplitcodec.errors import ArgumentError, ModelError

torch = pytest.importorskip("torch", reason="needs torch")
for name in ("httpx", "starlette", "uvicorn", "safetensors", "onnxruntime", "onnxscript"):
    pytest.importorskip(name, reason='needs "pysplitcodec[serve,safetensors,export]"')
pytest.importorskip("ai_edge_litert", reason="needs the extra 'tflite'")

from cloud_classifier import cloud_classifier  # noqa: E402
from server_process import serving  # noqa: E402

from pysplitcodec.plan.packed_weights import unpack_weights  # noqa: E402
from pysplitcodec.runtime import OnnxModel  # noqa: E402
from pysplitcodec.serve import negotiate, read_offers  # noqa: E402
from pysplitcodec.splitting import split  # noqa: E402

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Any]:
    """A module, the folder of its offers, and samples."""
    path = tmp_path_factory.mktemp("mlp")
    classifier = cloud_classifier()
    model, inputs, targets = classifier.model, classifier.inputs, classifier.targets
    found: dict[str, Any] = {"model": model, "inputs": inputs, "targets": targets, "out": path}
    exec(blocks()[0], found)
    return model, path / "offers", inputs


def blocks() -> list[str]:
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    section = text[text.index("## Negotiating") :]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def test_a_torch_head(mlp: tuple[Any, Path, Any], tmp_path: Path) -> None:
    model, folder, inputs = mlp
    _, offers = read_offers(folder)
    with serving(tmp_path, folder, "--device", "qpart-server") as ready:
        found: dict[str, Any] = {"model": model, "inputs": inputs, "cache": tmp_path}
        exec(blocks()[2].replace("http://127.0.0.1:8000", ready.url), found)
        plan, reply = found["negotiated"].plan, found["reply"]
        assert found["negotiated"].received_bytes == plan["head_bytes"]
        (offer,) = (
            o for o in offers if (o.pattern.split, o.pattern.drop) == (plan["split"], plan["drop"])
        )
        head = split(model, plan["split"], example=inputs[:1]).head
        state = unpack_weights(offer.head.read_bytes())
        head.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
        with torch.no_grad():
            feature = head(inputs[:1]).numpy()
        decoded = offer.codec.decode(offer.codec.encode(feature.reshape(offer.codec.shape)))
        wanted = OnnxModel(offer.tail)(decoded[None])[0]
        (output,) = reply.outputs.values()
        assert output.tobytes() == wanted.tobytes()
        options: Any = {
            "max_accuracy_drop": plan["drop"],
            "device": "qpart",
            "link": "1-mbit",
            "inferences": 1000,
        }
        with pytest.raises(ArgumentError, match="expected head_for"):
            negotiate(ready.url, "mlp", tmp_path, **options)
        with pytest.raises(ModelError, match="are of another head"):
            negotiate(
                ready.url, "mlp", tmp_path, head_for=lambda _: torch.nn.Linear(2, 2), **options
            )
        with negotiate(ready.url, "mlp", tmp_path, head_for=found["head_for"], **options) as again:
            assert again.received_bytes == 0
