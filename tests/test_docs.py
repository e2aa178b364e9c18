"""What the documentation says runs, and what it points to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pysplitcodec as sc

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def test_readme_example() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    found: dict[str, object] = {}
    exec(example, found)
    frame = found["frame"]
    assert isinstance(frame, bytes)
    said = re.search(r"# bytes: (\d+), for 4,096", example)
    assert said is not None and len(frame) == int(said[1])


def test_coders_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "coders.md").read_text(encoding="utf-8")
    found: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(example, found)
    assert isinstance(found["chosen"], sc.Codec)


def test_splitting_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="needs torch")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "splitting.md").read_text(encoding="utf-8")
    found: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(example, found)
    names = [cut.name for cut in sc.list_cuts("model.pt2")]
    assert names == [cut.name for cut in sc.list_cuts(found["model"], example=found["x"])]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} points to {target}"
