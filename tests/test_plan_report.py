"""What a plan of a model rests on: JPEG, the coder that is trained, and the words for it all."""

from __future__ import annotations

import dataclasses
import io
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="needs LiteRT")


from pysplitcodec.demo import load_digits
from pysplitcodec.plan import (
    Candidate,
    DeviceProfile,
    Limits,
    Link,
    get_device,
    get_link,
)
from pysplitcodec.report import layer_report
from pysplitcodec.report.answers import SEND_JPEG, changed_answers, read_answers, send_jpeg
from pysplitcodec.report.candidates import (
    ON_DEVICE,
    ON_SERVER,
    candidates,
    train_context,
    untrained,
)
from pysplitcodec.report.plan_model import plan_model
from pysplitcodec.report.plan_report import Plan, Question, could_win
from pysplitcodec.report.plan_words import explain, rate, shortened
from pysplitcodec.runtime import open_model
from pysplitcodec.splitting import read_graph


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "digits.tflite"
    path.write_bytes((resources.files("pysplitcodec") / "data" / "digits.tflite").read_bytes())
    return path


@pytest.fixture(scope="module")
def samples() -> list[list[Any]]:
    return [[image] for image in load_digits().images[:12]]


# ------------------------------------------------------------------ JPEG


@pytest.mark.parametrize("max_drop", [0.0, 0.4])
def test_jpeg_of_the_lowest_quality(model: Path, samples: list[list[Any]], max_drop: float) -> None:
    """As files that Pillow alone writes and reads, without what is the same in all of them."""
    image = pytest.importorskip("PIL.Image", reason="JPEG needs the extra 'cli'")
    whole = open_model(model)
    answers = read_answers(whole, samples)
    assert answers is not None
    found = send_jpeg(whole, samples, answers, 1_000, max_drop=max_drop)

    def through(quality: int) -> tuple[float, list[int]]:
        files = [io.BytesIO() for _ in samples]
        for file, (sample,) in zip(files, samples):
            pixels = np.rint(255 * sample[0, :, :, 0]).astype(np.uint8)
            image.fromarray(pixels).save(file, "JPEG", quality=quality)
        back = [np.asarray(image.open(file), np.float32)[None, :, :, None] / 255 for file in files]
        data = [file.getvalue() for file in files]
        shared = data[0].index(b"\xff\xda")
        scan = shared + 2 + int.from_bytes(data[0][shared + 2 : shared + 4], "big")
        sizes = [len(one) - scan - 2 for one in data]
        return float(np.mean(sizes)), [int(whole(one)[0].argmax()) for one in back]

    quality = int(re.findall(r"quality (\d+), 4:4:4", found.name)[0])
    size, got = through(quality)
    assert found.payload_bytes == pytest.approx(size)
    changed = np.mean(np.not_equal(got, answers))
    assert found.accuracy_drop == pytest.approx(changed)
    assert changed <= max_drop
    assert (found.head_macs, found.tail_macs, found.coder) == (0, 1_000, None)
    for lower in range(max(1, quality - 3), quality):
        assert np.mean(np.not_equal(through(lower)[1], answers)) > max_drop


def test_inputs_that_are_no_images(model: Path, samples: list[list[Any]]) -> None:
    question = Question(get_device("gap8"), get_link("1-mbit"))
    found = plan_model(model, samples, question, bits=(1,), value_range=(0.0, 0.5))
    assert not any(one.candidate.name.startswith(SEND_JPEG) for one in found.found)
    assert "Inputs were not tried as JPEG: inputs hold values outside of 0 to 0.5" in " ".join(
        found.notes
    )


# ------------------------------------------------------------------ the coder that is trained


def test_context_is_trained_where_it_could_win(model: Path, samples: list[list[Any]]) -> None:
    """Where coding is fast; the answers are those of training it everywhere."""
    fast = {"pack": 0.01, "lzma": 0.05, "context": 0.05}
    device = DeviceProfile("fast", macs_per_s=1e9, encode_ns_per_element=fast, flash_bytes=2_000)
    for limits in (Limits(), Limits(accuracy_drop=0.2)):
        question = Question(device, Link("l", bits_per_s=1e5), limits=limits)
        found = plan_model(model, samples, question, bits=(1,))
        graph = read_graph(model)
        report = layer_report(model, samples, bits=(1,), time=False, graph=graph)
        changes = None
        if limits.accuracy_drop is not None:
            answers = read_answers(open_model(model), samples[6:])
            changes = changed_answers(graph, report, samples[6:], answers or [])
        jpeg = [one.candidate for one in found.found if one.candidate.name.startswith(SEND_JPEG)]
        everything = [*candidates(report, device, changes), *jpeg]
        trained = [one for one in found.found if one.candidate.coder == "context"]
        possible = [one for one in everything if one.coder == "context"]
        assert 0 < len(trained) < len(possible)
        assert {one.candidate for one in found.found} <= set(everything)
        wanted = question.choices(everything)
        assert found.best == wanted[0]
        assert [span.choice for span in found.spans] == [
            span.choice for span in question.spans(everything)
        ]
        assert found.runner_up == next(
            one for one in wanted if one.candidate.name != wanted[0].candidate.name
        )


def test_context_alone_is_added(model: Path, samples: list[list[Any]]) -> None:
    graph = read_graph(model)
    device = get_device("gap8")
    without = layer_report(model, samples, bits=(1, 2), time=False, context_channels=0)
    with_it = layer_report(model, samples, bits=(1, 2), time=False)
    hopes = untrained(without, device)
    wanted = {key for key in hopes if key[0] in (1, 3)}
    report = train_context(without, graph, samples, wanted)
    for point, before, full in zip(report.split_points, without.split_points, with_it.split_points):
        assert point.coded == (full.coded if point.index in (1, 3) else before.coded)
    assert set(untrained(report, device)) == set(hopes) - wanted
    slow = dataclasses.replace(device, encode_ns_per_element={"pack": 1.0})
    assert untrained(without, slow) == {}


@pytest.mark.parametrize("seed", range(8))
def test_hopes_are_those_that_change_an_answer(seed: int) -> None:
    """A hope that is left out changes neither the best, nor the runner-up, nor any span."""
    rng = np.random.default_rng(seed)

    def some(name: str, count: int) -> list[Candidate]:
        return [
            Candidate(
                f"{name}{i % 9}",
                head_macs=float(rng.integers(0, 40) * 1e6),
                tail_macs=0,
                coder="pack",
                payload_bytes=float(rng.integers(0, 900)),
                accuracy_drop=float(rng.integers(0, 4)) / 100,
            )
            for i in range(count)
        ]

    device = DeviceProfile("d", macs_per_s=1e9, encode_ns_per_element={"pack": 1.0})
    limits = Limits(latency_s=0.03, accuracy_drop=0.025)
    question = Question(device, Link("l", bits_per_s=4e5), limits=limits)
    given, hopes = some("a", 20), dict(enumerate(some("h", 40)))
    kept = could_win(question, given, hopes)
    assert len(kept) < len(hopes)
    objectives = [question.choices([hopes[key]])[0].objective for key in kept]
    assert objectives == sorted(objectives)
    before = Plan("m", question, question.choices(given), question.spans(given), 1)
    for key, hope in hopes.items():
        both = [*given, hope]
        after = Plan("m", question, question.choices(both), question.spans(both), 1)
        same = (
            after.best == before.best
            and after.runner_up == before.runner_up
            and after.spans == before.spans
        )
        assert (key in kept) == (not same)


# ------------------------------------------------------------------ words


def test_words_of_a_split() -> None:
    device = DeviceProfile("d", macs_per_s=1e9, encode_ns_per_element={"lzma": 100.0})
    question = Question(device, Link("l", bits_per_s=8e6))
    given = [
        Candidate(ON_DEVICE, 100e6, 0),
        Candidate(ON_SERVER, 0, 100e6, payload_bytes=50_000),
        Candidate("layer1", 1e6, 99e6, elements=10_000, coder="lzma", payload_bytes=2_000, bits=2),
    ]
    found = Plan("m", question, question.choices(given), question.spans(given), 1)
    # 1 + 1 + 2 ms against 50 and 100; 0.002 + 16000 / r = 0.1 and = 400000 / r
    assert explain(found) == [
        "Split at layer1 (2 bits, lzma): 4 ms, 50 % of it the link.",
        "Next best is to send the input: 50 ms, 1.15e+03 % more, as the link takes 48 ms longer.",
        "Without a split: send the input 50 ms; all on the device 100 ms.",
        "Over other links it is best, below 163 kbit/s to run it all on the device, and above "
        "192 Mbit/s to send the input.",
    ]
    limited = dataclasses.replace(question, limits=Limits(payload_bytes=3_000))
    found = Plan("m", limited, limited.choices(given), limited.spans(given), 1)
    assert explain(found)[2] == (
        "Without a split: all on the device 100 ms; send the input 50 ms (beyond the limits)."
    )
    alone = Plan("m", question, question.choices(given[2:]), question.spans(given[2:]), 1)
    assert explain(alone)[1:] == [
        "Nothing else keeps the limits.",
        "That is the best at every rate of the link.",
    ]


def test_limits_on_time_do_not_hold_over_other_links() -> None:
    device = DeviceProfile("d", macs_per_s=1e9, power_w=1.0)
    link = Link("l", bits_per_s=8e6, transmit_power_w=10.0)
    question = Question(device, link, limits=Limits(energy_j=0.15))
    given = [Candidate(ON_DEVICE, 100e6, 0), Candidate(ON_SERVER, 0, 0, payload_bytes=20_000)]
    found = Plan("m", question, question.choices(given), question.spans(given), 1)
    assert found.best is not None and found.best.candidate.name == ON_DEVICE
    assert explain(found)[-1] == (
        "Without limits on time and energy it would be best now to send the input, below "
        "1.6 Mbit/s to run it all on the device."
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("layer1.0.add", "layer1.0.add"),
        ("model/relu_1/Relu;model/batch_norm/FusedBatchNormV3", "model/relu_1/Relu;..."),
        ("a" * 20 + "b" * 40, "a" * 13 + "..." + "b" * 23),
    ],
)
def test_long_names(name: str, text: str) -> None:
    assert shortened(name) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 bit/s"), (999.0, "999 bit/s"), (1e3, "1 kbit/s"), (1.234e6, "1.23 Mbit/s")],
)
def test_rates(value: float, text: str) -> None:
    assert rate(value) == text
