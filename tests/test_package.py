"""What is shipped: sdist and wheel, built in isolation as a user's pip does."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_sdist_and_wheel(tmp_path: Path) -> None:
    pytest.importorskip("build", reason="needs the extra 'dev'")
    # without options, build makes the wheel from the sdist: what the sdist lacks fails here
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(tmp_path), str(ROOT)],
        capture_output=True,
        text=True,
        timeout=500,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (sdist,) = tmp_path.glob("*.tar.gz")
    (wheel,) = tmp_path.glob("*.whl")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"csrc/include/splitcodec.h", "CMakeLists.txt", "LICENSE", "README.md"} <= names
    assert not any(name.startswith((".venv", "build/", "out/")) for name in names)
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        metadata = next(name for name in held if name.endswith(".dist-info/METADATA"))
        required = [
            line
            for line in archive.read(metadata).decode().splitlines()
            if line.startswith("Requires-Dist") and "extra ==" not in line
        ]
    assert required == ["Requires-Dist: numpy>=1.22"]
    for name in (
        "py.typed",
        "_core.pyi",
        "include/splitcodec.h",
        "lib/libsplitcodec.so",
        "data/digits.tflite",
        "data/digits_test.npz",
        "plan/devices.toml",
        "plan/links.toml",
        "report/page.html",
        "report/page.css",
        "report/page_graph.js",
        "report/runs.html",
        "serve/dashboard.html",
    ):
        assert f"pysplitcodec/{name}" in held
    assert any(name.startswith("pysplitcodec/_core.") and name.endswith(".so") for name in held)
    sources = {name for name in held if name.startswith("pysplitcodec/firmware/source/")}
    for name in (
        "csrc/codec.c",
        "firmware/boards.json",
        "vectors/pack.json",
        "cmake/sources.cmake",
    ):
        assert f"pysplitcodec/firmware/source/{name}" in sources
    assert not any(name.endswith((".cpp", ".o")) for name in sources)
    assert not any("tests" in name or name.endswith((".a", ".c")) for name in held - sources)
    fresh = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", str(fresh)], check=True, timeout=120)
    python = fresh / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel],
        check=True,
        timeout=300,
    )
    code = (
        "import numpy as np, pysplitcodec as sc;"
        "c = sc.Codec(sc.Codebook([0, 1]), 'pack', shape=(4,));"
        "print(c.decode(c.encode(np.float32([0, 1, 1, 0]))).tolist())"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "[0.0, 1.0, 1.0, 0.0]", done.stderr
