"""`splitcodec plan`: the candidates of a model, what it advises, and what it refuses."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("typer", reason="the command line needs the extra 'cli'")
pytest.importorskip("ai_edge_litert", reason="needs LiteRT")

from typer.testing import CliRunner

import pysplitcodec as sc
from pysplitcodec.cli.app import app
from pysplitcodec.cli.profiles import named_link
from pysplitcodec.demo import load_digits
from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan import (
    Candidate,
    DeviceProfile,
    evaluate,
    get_device,
    get_link,
)
from pysplitcodec.report import layer_report
from pysplitcodec.report.answers import SEND_JPEG, changed_answers, read_answers
from pysplitcodec.report.candidates import (
    ON_DEVICE,
    ON_SERVER,
    candidates,
)
from pysplitcodec.runtime import open_model
from pysplitcodec.splitting import read_graph


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "digits.tflite"
    path.write_bytes((resources.files("pysplitcodec") / "data" / "digits.tflite").read_bytes())
    return path


@pytest.fixture(scope="module")
def inputs(model: Path) -> Path:
    """Twelve digits in one file."""
    path = model.with_name("inputs.npy")
    np.save(path, load_digits().images[:12, 0])
    return path


@pytest.fixture(scope="module")
def samples(inputs: Path) -> list[list[Any]]:
    return [[x[None]] for x in np.load(inputs)]


def run(*args: object, expect: int = 0) -> Any:
    done = CliRunner().invoke(app, ["plan", *map(str, args)], env={"COLUMNS": "250"})
    assert done.exit_code == expect, (done.output, done.exception)
    return done


def planned(model: Path, inputs: Path, *args: object, expect: int = 0) -> Any:
    given = (model, "--input", inputs, "--bits", 1, "--bits", 4, *args, "--json")
    return json.loads(run(*given, expect=expect).stdout)


def cost_of(row: dict[str, Any], device: str, link: Any, server: str | None = None) -> float:
    keys = Candidate.__dataclass_fields__
    one = Candidate(**{key: row[key] for key in keys})
    far = None if server is None else get_device(server)
    return evaluate(one, get_device(device), link, server=far).latency_s


def test_the_best_is_the_cheapest(model: Path, inputs: Path) -> None:
    slow, fast = (
        planned(model, inputs, "--device", "gap8", "--link", rate, "--server", "qpart-server")
        for rate in ("clio-lora", "1e9")
    )
    assert slow["device"] == "gap8" and slow["link"] == "clio-lora"
    for found, link in ((slow, get_link("clio-lora")), (fast, named_link("1e9"))):
        rows = found["candidates"]
        assert found["best"] == rows[0]
        times = [row["latency_s"] for row in rows]
        assert times == sorted(times)
        for row in rows:
            wanted = cost_of(row, "gap8", link, "qpart-server")
            assert row["latency_s"] == row["objective"] == pytest.approx(wanted)
    assert slow["best"]["name"] == ON_DEVICE
    assert fast["best"]["name"].startswith((SEND_JPEG, ON_SERVER))
    assert fast["best"]["split_point"] is None
    assert fast["runner_up"] == next(
        row for row in rows if row["name"] != rows[0]["name"] and row["feasible"]
    )


def test_every_way_is_tried(model: Path, inputs: Path) -> None:
    rows = planned(model, inputs, "--device", "gap8", "--link", "1-mbit")["candidates"]
    samples = [[x[None]] for x in np.load(inputs)]
    report = layer_report(model, samples, bits=[1, 4], time=False, context_channels=0)
    names = {row["name"] for row in rows}
    (jpeg,) = (name for name in names if name.startswith(SEND_JPEG))
    assert names == {ON_DEVICE, ON_SERVER, jpeg, *(point.name for point in report.split_points)}
    split = [row for row in rows if row["coder"] is not None]
    assert all(row["split_point"] == row["name"] for row in split)
    assert {row["bits"] for row in split} == {1, 4}
    assert {"pack", "lzma"} <= {row["coder"] for row in split}
    for point in report.split_points:
        for row in point.coded:
            (found,) = (
                one["payload_bytes"]
                for one in split
                if (one["name"], one["bits"], one["coder"]) == (point.name, row["bits"], "pack")
            )
            assert found == row["pack"]


def test_other_rates_have_other_answers(model: Path, inputs: Path) -> None:
    found = planned(model, inputs, "--device", "gap8", "--link", "1-mbit")
    spans = found["by_bits_per_s"]
    assert spans[0]["from"] == 0 and spans[-1]["to"] is None
    assert [span["to"] for span in spans[:-1]] == [span["from"] for span in spans[1:]]
    assert spans[0]["best"]["name"] == ON_DEVICE
    assert spans[-1]["best"]["tail_macs"] and not spans[-1]["best"]["head_macs"]
    (here,) = (span for span in spans if span["from"] <= 1e6 < (span["to"] or 1e99))
    assert here["best"]["name"] == found["best"]["name"]


def test_answers_that_change_bound_the_drop(model: Path, samples: list[list[Any]]) -> None:
    graph = read_graph(model)
    report = layer_report(model, samples, bits=[1, 8], time=False, graph=graph)
    answers = read_answers(open_model(model), samples[6:])
    assert answers == [int(open_model(model)(*sample)[0].argmax()) for sample in samples[6:]]
    changes = changed_answers(graph, report, samples[6:], answers)
    assert set(changes) == {(p.index, bits) for p in report.split_points for bits in (1, 8)}
    whole = open_model(model)
    for point in report.split_points[:3]:
        halves = graph.split(point.name)
        head, tail = open_model(halves.head), open_model(halves.tail)
        for row in point.codebooks:
            changed = 0
            for sample in samples[6:]:
                (feature,) = head(*sample)
                book = sc.Codebook(row["centroids"])
                codec = sc.Codec(book, shape=feature.shape, dtype=feature.dtype.name)
                sent = codec.decode(codec.encode(feature))
                changed += tail(sent)[0].argmax() != whole(*sample)[0].argmax()
            assert changes[point.index, row["bits"]] == pytest.approx(changed / 6)
    found = candidates(report, get_device("gap8"), changes)
    for one in found:
        if one.bits is not None:
            (at,) = (p.index for p in report.split_points if p.name == one.name)
            assert one.accuracy_drop == changes[at, one.bits]


def test_a_person_reads_it(model: Path, inputs: Path) -> None:
    given = (model, "--input", inputs, "--bits", 2, "--device", "gap8", "--link", "1-mbit")
    done = run(*given, "--max-drop", 0.9)
    text = " ".join(done.stdout.split())
    assert f"{model} on gap8 over 1-mbit: the best first" in text
    assert ON_DEVICE in text and "Over links of other rates" in text
    found = planned(model, inputs, "--device", "gap8", "--link", "1-mbit", "--max-drop", 0.9)
    assert "Next best is to" in found["why"][1] and "Over other links" in found["why"][-1]
    done = run(model, "--input", inputs, "--bits", 1, "--bits", 4, *given[5:], "--max-drop", 0.9)
    assert done.stdout.splitlines()[: len(found["why"])] == found["why"]


@pytest.mark.parametrize(
    ("limit", "lacks"),
    [
        (("--max-latency", 1e-9), "latency_s is"),
        (("--max-energy", 1e-12), "energy_j is"),
        (("--max-bytes", 0, "--max-latency", 1e-6), "latency_s is"),
    ],
)
def test_limits_that_cannot_be_met(
    model: Path, inputs: Path, tmp_path: Path, limit: tuple[Any, ...], lacks: str
) -> None:
    """The candidates are shown all the same, with what each lacks; then the error."""
    page = tmp_path / "plan.html"
    given = (model, "--input", inputs, "--bits", 2, "--device", "gap8", "--link", "1-mbit", *limit)
    done = run(*given, "--html", page, expect=3)
    assert "no candidate keeps the limits; nearest is" in done.stderr
    assert lacks in done.stderr
    shown = " ".join(done.stdout.split())
    assert "why not" in shown and lacks in shown and "No candidate keeps the limits." in shown
    assert page.stat().st_size > 10_000
    printed = run(*given, "--json", expect=3)
    found = json.loads(printed.stdout)
    assert found["best"] is found["runner_up"] is None
    assert len(found["candidates"]) > 10
    assert all(not row["feasible"] and row["why_not"] for row in found["candidates"])
    assert "nearest is" in printed.stderr


def test_no_rate_helps_where_bytes_are_limited(tmp_path: Path, model: Path, inputs: Path) -> None:
    """Flash too small for any head, and no bytes to send: the case of `break_even`'s own error."""
    profile = tmp_path / "tiny.toml"
    profile.write_text(
        "[tiny]\nmacs_per_s = 1e9\nflash_bytes = 1\n"
        "encode_ns_per_element = { pack = 1.0 }\n"
        'sources = { macs_per_s = "-", flash_bytes = "-", encode_ns_per_element = "-" }\n'
    )
    found = planned(
        model,
        inputs,
        *("--device", profile, "--link", "1-mbit", "--max-bytes", "1"),
        expect=3,
    )
    assert found["best"] is None and found["by_bits_per_s"] == []
    assert "Nearest is to" in found["why"][0]


def test_weights_sent_once_for_many_inputs(model: Path, inputs: Path) -> None:
    given = ("--device", "gap8", "--link", "1-mbit")
    alone = planned(model, inputs, *given)
    shipped = planned(model, inputs, *given, "--inferences", 20)
    assert shipped["inferences"] == 20
    link = get_link("1-mbit")
    for row in shipped["candidates"]:
        assert row["ship_s"] == pytest.approx(link.seconds(row["head_bytes"]) / 20)
    assert all(row["ship_s"] == 0 for row in alone["candidates"])


def test_price_and_energy_count(model: Path, inputs: Path, tmp_path: Path) -> None:
    profile = tmp_path / "edge.toml"
    profile.write_text(
        "[edge]\nmacs_per_s = 1e8\npower_w = 2.0\nencode_ns_per_element = { pack = 1.0 }\n"
        'sources = { macs_per_s = "-", power_w = "-", encode_ns_per_element = "-" }\n'
    )
    server = tmp_path / "server.toml"
    server.write_text(
        "[far]\nmacs_per_s = 1e10\nprice_per_s = 5.0\n"
        'sources = { macs_per_s = "-", price_per_s = "-" }\n'
    )
    given = ("--device", profile, "--server", server, "--link", "clio-wifi")
    found = planned(
        model, inputs, *given, "--per-price", 100, "--per-joule", 3, "--max-energy", 1e-3
    )
    assert found["server"] == "far"
    assert found["limits"]["energy_j"] == 1e-3
    kept = []
    for row in found["candidates"]:
        wanted = row["latency_s"] + 3 * row["energy_j"] + 100 * row["price"]
        assert row["objective"] == pytest.approx(wanted)
        assert row["price"] == pytest.approx(5 * row["tail_macs"] / 1e10)
        assert row["feasible"] == (row["energy_j"] <= 1e-3)
        kept.append(row["feasible"])
    assert 0 < sum(kept) < len(kept)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--device", "pdp-11", "--link", "1-mbit"), "device is 'pdp-11': expected one of"),
        (("--device", "gap8", "--link", "string"), "link is 'string': expected one of"),
        (("--device", "gap8", "--link", "0"), "bits_per_s is 0.0"),
        (("--device", "gap8", "--link", "nan"), "bits_per_s is nan"),
        (("--device", "stm32f7", "--link", "1-mbit"), "device stm32f7 has no macs_per_s"),
        (("--device", "gap8", "--link", "1-mbit", "--server", "stm32f7"), "stm32f7 has no macs"),
        (("--device", "gap8", "--link", "1-mbit", "--max-drop", "-1"), "accuracy_drop is -1"),
        (("--device", "qpart", "--link", "lora", "--per-joule", "1"), "energy_j has a weight of 1"),
        (("--device", "gap8", "--link", "lora", "--inferences", "0"), "inferences is 0"),
        (("--device", "gap8", "--link", "lora", "--per-price", "-1"), "per_price is -1"),
        (("--device", "gap8", "--link", "lora", "--max-energy", "-1"), "energy_j is -1"),
    ],
)
def test_wrong_questions(model: Path, inputs: Path, args: tuple[str, ...], says: str) -> None:
    done = run(model, "--input", inputs, "--bits", 1, *args, expect=3)
    assert says in " ".join(done.stderr.split())


def test_reports_that_do_not_do(model: Path) -> None:
    report = layer_report(model, time=False)
    with pytest.raises(ArgumentError, match="expected one that was made with inputs"):
        candidates(report, DeviceProfile("d"))
