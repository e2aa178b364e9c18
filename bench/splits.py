"""Every model at hand, split at every point: how many points, whether the halves equal the whole.

    python bench/splits.py [--only TEXT] [--tensors N] [--resume] [--out docs/results]

Writes splits.json and splits.md.  TFLite models are those of SPLITCODEC_DATA; ONNX and PyTorch
models, where onnx or torch and torchvision are installed, are those of split_models.py.  Each is
measured in a process of its own, for some crash it; rows are written as they come, and --resume
keeps those that are there.

For a model: seconds to read it and find its split points, seconds to split it at every one of
them, and peak memory above what the process has after its imports (and, for PyTorch, with the
model), first of that, then with running the halves.  Then whether tail(head(x)) equals whole(x),
over random inputs and, if the model takes pictures, a real one: see pictures.py.  Linux only.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress
from split_models import DATA, TORCH, models, onnx_file, write_with_random_weights

FORMATS = ("tflite", "onnx", "torch")
IMPORTS = {
    "tflite": ("ai_edge_litert.schema_py_generated", "ai_edge_litert.interpreter", "flatbuffers"),
    "onnx": ("onnx.shape_inference", "onnxruntime"),
    "torch": ("torch.export",),
}
TIMEOUT_S = 1800


# ------------------------------------------------------------------ in the process of one model


def memory_mb(field: str) -> float:
    """VmRSS, what is resident, or VmHWM, the most that was since `forget_peak`."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    assert found is not None
    return int(found.group(1)) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measure(kind: str, name: str, tensors: int, folder: Path) -> Iterator[dict[str, Any]]:
    """The row of a model, first without and then with what running the halves shows."""
    for module in IMPORTS[kind]:
        importlib.import_module(module)
    from pysplitcodec.splitting import read_graph, verify_all

    model: Any = DATA / f"{name}.tflite"
    example = None
    if kind == "torch":
        model, example = TORCH[name]()
    elif kind == "onnx":
        model = folder / "model.onnx"
        # In a process of its own, for what it leaves allocated would hide what splitting takes.
        filling = multiprocessing.Process(
            target=write_with_random_weights, args=(onnx_file(name), model)
        )
        filling.start()
        filling.join()
        assert filling.exitcode == 0, f"no random weights for {name}"
    forget_peak()
    before = memory_mb("VmRSS")
    start = time.perf_counter()
    graph = read_graph(model, example)
    cuts = graph.list_cuts(tensors)
    row: dict[str, Any] = {
        "format": kind,
        "model": name,
        "tensors": tensors,
        "split_points": len(cuts),
        "enumerate_s": time.perf_counter() - start,
    }
    start = time.perf_counter()
    for cut in cuts:
        graph.split(cut)
    row["split_s"] = time.perf_counter() - start
    row["split_peak_mb"] = memory_mb("VmHWM") - before
    yield row

    start = time.perf_counter()
    inputs, row["distinct_outputs"] = inputs_of(model, example)
    for prefix, optimise in [("", False), ("fused_", True)][: 2 if kind == "onnx" else 1]:
        found = list(
            verify_all(model, map(graph.split, cuts), inputs, example=example, optimise=optimise)
        )
        row[f"{prefix}equal"] = sum(difference.identical for difference in found)
        row[f"{prefix}unequal"] = [c.name for c, d in zip(cuts, found) if not d.identical]
        row[f"{prefix}largest"] = max((d.largest for d in found), default=0.0)
        row[f"{prefix}relative"] = max((d.relative for d in found), default=0.0)
    row["verify_s"] = time.perf_counter() - start
    row["run_peak_mb"] = memory_mb("VmHWM") - before
    yield row


def inputs_of(model: Any, example: Any) -> tuple[list[list[Any]], int]:
    """What to run a model on, and how many different outputs it has for that."""
    from pictures import picture

    from pysplitcodec.runtime import open_model
    from pysplitcodec.splitting.verify import random_inputs

    if example is None:
        whole: Any = open_model(model, optimise=False)
    else:
        from pysplitcodec.runtime_torch import ModuleModel

        whole = ModuleModel(model, example)
    inputs = random_inputs(whole)
    seen = picture(DATA, whole.inputs[0])
    if seen is not None:
        inputs.append([seen])
    return inputs, len({tuple(array.tobytes() for array in whole(*arrays)) for arrays in inputs})


# ------------------------------------------------------------------ in the process of all models


def measured(kind: str, name: str, tensors: int) -> dict[str, Any]:
    """The row of a model, measured in a process of its own, and what became of that."""
    command = [sys.executable, __file__, "--measure", kind, name, "--tensors", str(tensors)]
    row: dict[str, Any] = {"format": kind, "model": name, "tensors": tensors}
    try:
        done = subprocess.run(
            command,
            # torch's threads wait for each other by spinning, where other work has a core
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        output, status, errors = done.stdout, done.returncode, done.stderr
    except subprocess.TimeoutExpired:
        return {**row, "error": f"did not end within {TIMEOUT_S} s"}
    for line in output.splitlines():
        row = json.loads(line)
    if status < 0:
        row["error"] = f"the process was ended by {signal.Signals(-status).name}"
    elif status:
        lines = errors.strip().splitlines()
        row["error"] = lines[-1].split(": ", 1)[-1] if lines else f"exit status {status}"
    return row


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "# Split points of models, and whether the halves equal the whole",
        "",
        "    " + "python bench/splits.py",
        "",
        "Each model is split at every point where one tensor, or as many as stated, have to be "
        "sent. `equal`: at how many of "
        "them tail(head(x)) has the same bits as whole(x), over random inputs and, where the model "
        "takes pictures, a photograph. ONNX Runtime fuses operators, but not across a cut: `fused` "
        "is what its optimisation of whole and halves changes, of the largest output; without it "
        "the halves are compared bit for bit. Memory is the peak above what the imports take "
        "(for PyTorch, with the model): for finding all split points and splitting at each, and "
        "with running whole and halves. splits.json has more.",
        "",
        "| format | model | tensors sent | split points | equal | largest difference | fused | "
        "enumerate, s | split at all, s | memory, MB | with running, MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    broken = []
    for row in rows:
        if "error" in row:
            error = textwrap.shorten(row["error"], 100)
            broken.append(f"- {row['model']} ({row['format']}): {error}")
        if "split_points" not in row:
            continue
        most = "1" if row["tensors"] == 1 else f"1 to {row['tensors']}"
        cells = [row["format"], row["model"], most, str(row["split_points"])]
        if "equal" not in row:
            cells += ["cannot be run", ""]
        elif row["distinct_outputs"] == 1:
            cells += ["shows nothing: one output for all inputs", ""]
        else:
            cells += [str(row["equal"]), f"{row['largest']:.3g}"]
        cells.append(f"{row['fused_relative']:.1e}" if "fused_relative" in row else "")
        cells += [f"{row['enumerate_s']:.2f}", f"{row['split_s']:.2f}"]
        cells.append(f"{row['split_peak_mb']:.0f}")
        cells.append(f"{row['run_peak_mb']:.0f}" if "run_peak_mb" in row else "")
        lines.append("| " + " | ".join(cells) + " |")
    if broken:
        lines += ["", "Not run:", "", *dict.fromkeys(broken)]
    return "\n".join([*lines, ""])


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return (FORMATS.index(row["format"]), row["model"], row["tensors"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="models with this in 'FORMAT NAME'")
    parser.add_argument("--tensors", type=int, default=1, help="sent at a cut, at most (1)")
    parser.add_argument("--resume", action="store_true", help="keep rows that are there")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        with tempfile.TemporaryDirectory() as folder:
            for row in measure(*args.measure, args.tensors, Path(folder)):
                print(json.dumps(row), flush=True)
        return
    results = args.out / "splits.json"
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    if args.resume and results.exists():
        rows = {key(row): row for row in json.loads(results.read_text(encoding="utf-8"))}
    found = [model for model in models() if args.only in " ".join(model)]
    args.out.mkdir(parents=True, exist_ok=True)
    with Progress() as progress:
        task = progress.add_task("", total=len(found))
        for kind, name in found:
            progress.update(task, description=f"{kind} {name}")
            place = key({"format": kind, "model": name, "tensors": args.tensors})
            if place not in rows:
                rows[place] = measured(kind, name, args.tensors)
                ordered = [rows[place] for place in sorted(rows)]
                results.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
                (args.out / "splits.md").write_text(as_markdown(ordered), encoding="utf-8")
            progress.advance(task)


if __name__ == "__main__":
    main()
