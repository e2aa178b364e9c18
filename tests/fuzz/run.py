"""Build the fuzz targets, run them and count; see README.md.  Ctrl-C ends a run early."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CORPUS = HERE / "corpus"
COMPILERS = ("clang", "clang-19", "clang-18", "clang-17", "clang-16")
ENVIRONMENT = {
    # stack traces of malloc and unmapping of shadow pages take longer than the targets
    "ASAN_OPTIONS": "malloc_context_size=0:handle_abort=1",
    "MSAN_OPTIONS": "clear_shadow_mmap_threshold=4194304:handle_abort=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}
SPEED = ("-entropic=0", "-reduce_inputs=0")  # libFuzzer's own bookkeeping


@dataclass
class Result:
    sanitizers: str
    target: str
    executions: int
    seconds: float
    failed: bool


def find_clang() -> str | None:
    """Return a clang that has libFuzzer."""
    source = b"int LLVMFuzzerTestOneInput(const char *p, long n) { return !p && n; }"
    with tempfile.TemporaryDirectory() as folder:
        flags = ["-fsanitize=fuzzer,address", "-x", "c", "-", "-o", f"{folder}/program"]
        for name in filter(shutil.which, COMPILERS):
            if subprocess.run([name, *flags], input=source, capture_output=True).returncode == 0:
                return name
    return None


def build(folder: Path, sanitizers: str) -> dict[str, Path]:
    """Return the programs by target."""
    clang = find_clang()
    if clang is None:
        sys.exit(
            "no clang with libFuzzer (Debian, Ubuntu: apt-get install clang-19 libclang-rt-19-dev)"
        )
    memory = "ON" if sanitizers == "memory" else "OFF"
    options = [f"-DCMAKE_C_COMPILER={clang}", "-DSPLITCODEC_FUZZ=ON"]
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    options.append(f"-DSPLITCODEC_FUZZ_MEMORY={memory}")
    commands: list[list[str | Path]] = [
        ["cmake", *generator, "-S", ROOT, "-B", folder, *options],
        ["cmake", "--build", folder, "--target", "fuzz_targets", "--parallel", "2"],
    ]
    for command in commands:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            sys.exit(done.stdout)
    found = (folder / "tests" / "fuzz").glob("fuzz_*")
    return {path.name[len("fuzz_") :]: path for path in sorted(found) if path.suffix == ""}


def call(command: list[str | Path], log: Path) -> tuple[int, bool]:
    """Return exit status, and whether Ctrl-C came.  libFuzzer is told so by a gentler signal."""
    environment = {**os.environ, **ENVIRONMENT}
    with log.open("wb") as out:
        child = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            return child.wait(), False
        except KeyboardInterrupt:
            child.send_signal(signal.SIGUSR1)
            return child.wait(), True


def said(log: Path) -> str:
    return log.read_text("utf-8", errors="replace")


def fuzz(
    program: Path, target: str, options: argparse.Namespace, work: Path
) -> tuple[Result, bool]:
    corpus, findings = work / "corpus" / target, work / "findings"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    given = [path for path in (CORPUS / target, work / "seeds" / target) if path.is_dir()]
    if options.executions is not None:
        limit = f"-runs={options.executions}"
    else:
        limit = f"-max_total_time={options.seconds}"
    log = findings / f"{target}.log"
    prefix = f"-artifact_prefix={findings}/{target}-"
    flags = [limit, f"-seed={options.seed}", "-print_final_stats=1", "-timeout=10", prefix, *SPEED]
    start = time.monotonic()
    status, interrupted = call([program, *flags, corpus, *given], log)
    text = said(log)
    count = re.search(r"number_of_executed_units: (\d+)", text)
    if status != 0:
        print(f"--- {target}: exit status {status}, log and input in {findings}")
        print("".join(text.splitlines(keepends=True)[-60:]))
    executions = int(count[1]) if count else 0
    took = time.monotonic() - start
    return Result(options.sanitizers, target, executions, took, status != 0), interrupted


def merge(program: Path, target: str, work: Path) -> None:
    """Put what covers as much as corpus, seeds and findings together into the corpus.

    By edges alone: by how often each is taken there would be thousands of files.
    """
    merged = work / "merged" / target
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir(parents=True)
    folders = [CORPUS / target, work / "seeds" / target, work / "corpus" / target]
    flags = ["-set_cover_merge=1", "-use_counters=0"]
    log = work / "findings" / f"{target}-merge.log"
    command: list[str | Path] = [
        program,
        *flags,
        merged,
        *(path for path in folders if path.is_dir()),
    ]
    if call(command, log) != (0, False):
        sys.exit(said(log))
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    for path in (CORPUS / target).iterdir():
        if not path.name.startswith("bad-"):
            path.unlink()
    for path in merged.iterdir():
        shutil.copyfile(path, CORPUS / target / path.name[:16])
    kept = list((CORPUS / target).iterdir())
    print(f"{target}: {len(kept)} files, {sum(path.stat().st_size for path in kept)} bytes")


def report(results: list[Result], totals_file: Path) -> None:
    """Print this run and the sum over all runs with this work folder."""
    before = json.loads(totals_file.read_text()) if totals_file.is_file() else {}
    print(f"{'target':<16}{'sanitizers':<20}{'executions':>14}{'per second':>12}{'all runs':>16}")
    for result in results:
        key = f"{result.target} {result.sanitizers}"
        before[key] = before.get(key, 0) + result.executions
        speed = result.executions / max(result.seconds, 1e-9)
        sanitizers = "memory" if result.sanitizers == "memory" else "address, undefined"
        print(
            f"{result.target:<16}{sanitizers:<20}{result.executions:>14,}{speed:>12,.0f}"
            f"{before[key]:>16,}{'  FAILED' if result.failed else ''}"
        )
    now = sum(result.executions for result in results)
    print(f"{'all':<36}{now:>14,}{'':>12}{sum(before.values()):>16,}")
    totals_file.write_text(json.dumps(before, indent=1, sort_keys=True) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help="all, if none is named")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--executions", type=int, help="of each target")
    amount.add_argument("--seconds", type=int, default=60, help="for each target; 60")
    parser.add_argument("--sanitizers", choices=("address", "memory"), default="address")
    parser.add_argument(
        "--seed", type=int, default=0, help="0, the default, takes another each time"
    )
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "fuzz")
    parser.add_argument("--merge", action="store_true", help="renew corpus/, do not fuzz")
    parser.add_argument("--json", type=Path, help="write the results there too")
    options = parser.parse_args()
    work = options.work.resolve()
    programs = build(work / options.sanitizers, options.sanitizers)
    unknown = set(options.targets) - set(programs)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}: there are {', '.join(programs)}")
    subprocess.run([sys.executable, HERE / "seeds.py", work / "seeds"], check=True)
    (work / "findings").mkdir(exist_ok=True)
    results: list[Result] = []
    for target in options.targets or programs:
        if options.merge:
            merge(programs[target], target, work)
            continue
        result, interrupted = fuzz(programs[target], target, options, work)
        results.append(result)
        if interrupted:
            break
    if results:
        report(results, work / "totals.json")
    if options.json:
        options.json.write_text(json.dumps([asdict(result) for result in results]))
    return 1 if any(result.failed for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
