"""Recipes: what they may say, grids of them, and those that come with the package."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from small_net import table, write_images  # noqa: E402

from pysplitcodec.errors import ArgumentError, SplitError  # noqa: E402
from pysplitcodec.toml_file import parse  # noqa: E402
from pysplitcodec.train import Recipe, read_recipes, train, train_all  # noqa: E402


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


A = ArgumentError
RATE = {"name": "rate"}


def composed(quantizer: Any = None, losses: Any = (), **settings: Any) -> dict[str, Any]:
    """A method's table."""
    return {
        "name": "composed",
        "quantizer": quantizer or {"name": "centroids", **settings},
        "losses": losses,
    }


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"method": {"name": "tcl", "bits": 0}}, A, "bits is 0: expected 1 to 8"),
        ({"method": {"name": "tcl", "bits": 9}}, A, "bits is 9"),
        ({"method": {"name": "tcl", "bits": True}}, A, "bits is True"),
        ({"method": {"name": "tcl", "task_weight": 1.1}}, A, "task_weight is 1.1: "),
        ({"method": {"name": "tcl", "task_weight": -0.1}}, A, "task_weight is -0.1"),
        ({"method": {"name": "tcl", "tau": [3]}}, A, "tau is"),
        ({"method": {"name": "tcl", "tau": [3, 0]}}, A, "tau is"),
        ({"method": {"name": "tcl", "lambda": 0.5}}, A, "to .tcl.: expected task_weight, tau"),
        ({"method": {"name": "bnn+", "exponent": 3}}, A, "exponent is 3: expected 1 or 2"),
        ({"method": {"name": "rate", "prior": "x"}}, A, "prior is 'x'"),
        ({"method": {"name": "rate", "rate_weight": -1}}, A, "rate_weight is -1"),
        ({"method": {"name": "magic"}}, A, "method.name is 'magic': expected minmax"),
        ({"method": {"name": "composed"}}, A, "method 'composed' has no quantizer: expected one"),
        ({"method": composed(quantizer="kmeans")}, A, "quantizer is 'kmeans': expected a table"),
        ({"method": composed(name="x")}, A, "quantizer.name is 'x': expected minmax, kmeans"),
        ({"method": composed(x=1)}, A, "quantizer.x is not known to 'centroids'"),
        ({"method": composed(learned=1)}, A, "learned is 1: expected true or false"),
        ({"method": composed(losses={"name": "rate"})}, A, "losses is .*: expected a list"),
        ({"method": composed(losses=[{"name": "x"}])}, A, r"losses\[0\].name is 'x': expected clu"),
        ({"method": composed(losses=[{}])}, A, r"losses\[0\] is {}: expected a table with a name"),
        ({"method": composed(losses=[RATE, RATE])}, A, "rate, rate: expected each name once"),
        ({"method": composed(losses=[{**RATE, "weight": -1}])}, A, "weight is -1"),
        ({"method": composed(name="kmeans", losses=[RATE])}, A, "losses are rate: expected none"),
        ({"bottleneck": {"name": "magic"}}, A, "bottleneck.name is 'magic'"),
        ({"bottleneck": {"name": "autoencoder", "stride": 0}}, A, "stride is 0"),
        ({"bottleneck": {"name": "autoencoder", "last": "relu"}}, A, "last is 'relu'"),
        ({"split": {"at": "left"}}, SplitError, "send 2 tensors"),
        ({"split": {"at": "nowhere"}}, SplitError, "nothing named 'nowhere'"),
        ({"split": {"at": "linear"}}, SplitError, "tail would be empty"),
        ({"split": {}}, A, "expected `at`"),
        ({"split": {"at": None}}, A, "no .split.: expected one"),
        ({"method": {"name": "bottlenet", "bits": 2}}, A, "bits is 2: JPEG is of 8"),
        ({"method": {"name": "on-server", "max_drop": 2}}, A, "max_drop is 2"),
        ({"method": {"name": "on-device", "bits": 2, "x": 2}}, A, "x is not known"),
        ({"model": {"name": "resnet21"}}, A, "resnet21"),
        ({"model": {"name": "small_net:nothing"}}, A, "no such function"),
        ({"model": {"name": "small_net:write_images"}}, A, "cannot be made"),
        ({"model": {"weights": "x"}}, A, "no name"),
        ({"schedule": {"epochs": {"tail": 1}}}, A, "schedule.epochs.tail is not known"),
        ({"schedule": {"epochs": {"float": -1}}}, A, "epochs.float is -1"),
        ({"schedule": {"learning_rate": {"float": 0}}}, A, "learning_rate.float is 0"),
        ({"schedule": {"seed": -1}}, A, "seed is -1"),
        ({"schedule": {"batch": 1}}, A, "batch is 1"),
        ({"schedule": {"precision": "int8"}}, A, "precision is 'int8'"),
        ({"schedule": {"speed": 1}}, A, "schedule.speed is not known"),
        ({"extra": {}}, A, "recipe.extra is not known"),
        ({"data": {"name": "x"}}, A, "data .x. has no train or no test"),
        ({"data": {"name": "shapes", "task": "x"}}, A, "task is 'x'"),
        ({"data": {"name": "x", "train": "/nowhere", "test": "/nowhere"}}, A, "/nowhere"),
        ({"data": {"name": "x", "train": "$NOT_THERE/x", "test": "x"}}, A, "NOT_THERE"),
    ],
)  # fmt: skip
def test_bad_recipes(
    images: Path, tmp_path: Path, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    parts = table(images)
    parts["schedule"]["epochs"] = {"whole": 0}
    with pytest.raises(error, match=message):
        train(Recipe.from_dict({**parts, **change}), tmp_path / "run")


def test_grid(images: Path, tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(
        f"""
[model]
name = "small_net:small_net"
[data]
name = "bars"
train = "{images}/train"
test = "{images}/test"
mirror = false
[split]
at = "middle"
[schedule]
batch = 32
epochs = {{whole = 1, float = 1, device = 1, server = 1}}
[grid]
"method.bits" = [1, 2]
method = [{{name = "kmeans"}}, {{name = "tcl", task_weight = 0.7}}]
"schedule.seed" = [3, 4]
"""
    )
    names = [one.name for one in read_recipes(file)]
    assert len(set(names)) == 8
    assert "bars-middle-tcl-task_weight0.7-b2-s4" in names
    begun: list[str] = []
    runs = train_all(file, tmp_path / "runs", begin=begun.append)
    assert list(runs) == begun == names
    assert runs["bars-middle-kmeans-b1-s3"]["bytes"]["pack"] == 8
    # one whole, two seeds; kmeans of both widths, tcl of each
    assert len(list((tmp_path / "runs" / "stages").glob("device-*.safetensors"))) == 6
    assert not list((tmp_path / "runs").glob("*/head.pt2"))
    assert train_all(file, tmp_path / "runs") == runs
    file.write_text(file.read_text().replace("[3, 4]", "[3, 3]"))
    with pytest.raises(ArgumentError, match="twice"):
        train_all(file, tmp_path / "runs")
    # what is wrong with the last is said before the first begins
    file.write_text(file.read_text().replace("0.7}]\n", "7}]\n").replace("[3, 3]", "[5]"))
    with pytest.raises(ArgumentError, match="task_weight is 7"):
        train_all(file, tmp_path / "runs", begin=begun.append)
    assert begun == names
    file.write_text("[grid]\nx = 3\n")
    with pytest.raises(ArgumentError, match=r"grid\.x is 3"):
        read_recipes(file)
    file.write_text("= 3")
    with pytest.raises(ArgumentError, match="is no TOML"):
        read_recipes(file)


def test_shipped_recipes() -> None:
    """Those of bench/recipes, and the one in the documentation."""
    from pysplitcodec.train.parts import build_bottleneck, check_parts

    root = Path(__file__).parents[1]
    files = sorted((root / "bench" / "recipes").glob("*.toml"))
    recipes = [one for file in files for one in read_recipes(file)]
    assert len({one.name for one in recipes}) == len(recipes) > 200
    (example,) = re.findall(r"```toml\n(.*?)```", _training_page(), re.DOTALL)[:1]
    recipes.append(Recipe.from_dict(parse(example.encode(), "docs/training.md")))
    for one in recipes:
        check_parts(one)
        build_bottleneck(one.bottleneck, (64, 16, 16))


def test_documented_names() -> None:
    from pysplitcodec.train.parts import BOTTLENECKS, LOSSES, METHODS, QUANTIZERS, UNSPLIT

    prose = re.sub(r"```.*?```", "", _training_page(), flags=re.DOTALL)
    named = set(re.findall(r"`([^`]+)`", prose))
    assert {*BOTTLENECKS, *QUANTIZERS, *LOSSES, *METHODS, *UNSPLIT} <= named


def _training_page() -> str:
    return (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
