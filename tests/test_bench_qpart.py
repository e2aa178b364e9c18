"""bench/qpart.py and its report, on a task of a second."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy", reason="exact widths need the extra 'plan'")
pytest.importorskip("matplotlib", reason="pictures need the extra 'plot'")
pytest.importorskip("safetensors", reason="packed weights need the extra 'safetensors'")

import qpart  # noqa: E402
import qpart_report  # noqa: E402
from torch import nn  # noqa: E402

from pysplitcodec.plan.classifier import Classifier  # noqa: E402


def bright_quarters(count: int, seed: int) -> tuple[np.ndarray, torch.Tensor]:
    """Images of 8x8 whose class is the quarter that is brighter."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 4, count)
    pixels = rng.normal(100, 40, (count, 8, 8))
    for image, target in zip(pixels, targets):
        top, left = 4 * (target // 2), 4 * (target % 2)
        image[top : top + 4, left : left + 4] += 35
    return np.clip(pixels, 0, 255).astype(np.uint8), torch.from_numpy(targets)


def small(_args: Any = None) -> qpart.Subject:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4)
    )
    (pixels, targets), (test_pixels, test_targets) = (
        bright_quarters(400, 0),
        bright_quarters(200, 1),
    )
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(80):
        loss = nn.functional.cross_entropy(model(qpart.flat(pixels)), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return qpart.Subject(
        "small",
        Classifier(model, qpart.flat(pixels), targets),
        Classifier(model, qpart.flat(test_pixels), test_targets),
        (pixels, test_pixels),
        qpart.flat,
        {"data": "quarters", "model": "small"},
        drops=(0.01, 0.05),
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("qpart") / "rows.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(qpart.SUBJECTS, "mlp", small)
        patch.setattr(sys, "argv", ["qpart.py", "mlp", "-o", str(path)])
        qpart.main()
        qpart.main()  # takes the place of what was there
    return path


def test_rows(written: Path) -> None:
    known = json.loads(written.read_text())
    (about,) = known["subjects"]
    rows = known["rows"]
    assert len({(row["scheme"], row["split"], row["drop"]) for row in rows}) == len(rows)
    assert {row["scheme"] for row in rows} == {
        *("qpart", "qpart+range", "exact", "uniform", "unoptimised", "neurosurgeon"),
        *("jalad", "jpeg", "pruning", "autoencoder", "on-device"),
    }
    assert about["closed_form"]["worst"] >= about["closed_form"]["mean"] >= 1
    for row in rows:
        assert row["measured_drop"] <= row["drop"]
        assert row["test_accuracy"] == pytest.approx(about["test_accuracy"] - row["test_drop"])
        # Eq. 17 with the parameters of Table II, computed here once more
        sent_s = 8 * (row["head_bytes"] + row["payload_bytes"]) / 200e6
        macs = row["head_macs"]
        time_s = sent_s + macs * 5 / 200e6 + row["tail_macs"] * 1.25 / 3e9 + row["codec_s"]
        energy_j = sent_s * 1.0 + 3e-27 * 200e6**2 * (5 * macs + 200e6 * row["codec_s"])
        price = 3.75e-27 * 3e9**2 * 1.25 * row["tail_macs"]
        assert row["objective"] == pytest.approx(time_s + energy_j + price, rel=1e-6)
        assert (row["codec_s"] > 0) == (row["scheme"] == "jalad")


def test_report(written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        given = ["qpart_report.py", str(written), "--pictures", str(tmp_path)]
        patch.setattr(sys, "argv", given)
        qpart_report.main()
    told = capsys.readouterr().out
    rows = json.loads(written.read_text())["rows"]
    first = next(r for r in rows if r["scheme"] == "qpart" and r["drop"] == 0.01)
    table = told.split("| objective |")[1].split("\n\n")[0]
    (line,) = [text for text in table.splitlines() if text.startswith(f"| {first['split']} |")]
    assert f"{first['objective']:.4f}" in line
    picture = (tmp_path / "qpart-small.svg").read_text()
    assert all(f"Fig. {number}:" in picture for number in (3, 5, 6, 7, 8, 9, 10))
