"""Planning for a model in a file: measure its features, judge what they offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pysplitcodec.errors import FeatureError, MissingDependencyError
from pysplitcodec.plan import Candidate
from pysplitcodec.report.answers import changed_answers, read_answers, send_jpeg
from pysplitcodec.report.candidates import Changes, candidates, train_context, untrained
from pysplitcodec.report.features import Array
from pysplitcodec.report.layer_report import Progress, layer_report
from pysplitcodec.report.plan_report import Plan, Question, could_win
from pysplitcodec.runtime import Runner, open_model
from pysplitcodec.splitting import read_graph

# Answers that JPEG may change where no limit is given, as in `splitcodec train` "on-server".
JPEG_DROP = 0.01


def plan_model(
    model: Any,
    samples: Sequence[Sequence[Array]],
    question: Question,
    *,
    bits: Sequence[int] = (1, 2, 4),
    value_range: tuple[float, float] | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Every way to share a model between a device and a server, judged.

    model: a TFLite or ONNX file, or a saved PyTorch program.  samples: inputs; codebooks and coders
    learn from the first half, bytes and answers are of the second.  bits: widths to try.
    value_range: what pixel values 0 and 255 mean to the model, see `ImageInput`.

    Answers that change are counted where `question.limits` has an accuracy drop.  The coder
    "context", slow to train, is trained where it could be the best, the runner-up, or the best at
    another rate.  Raises ArgumentError as `candidates` and `plan.choices`, and as `layer_report`.
    """
    tell = progress or (lambda *_: None)
    graph = read_graph(model)
    report = layer_report(
        model, samples, bits=bits, context_channels=0, time=False, graph=graph, progress=tell
    )
    max_drop = question.limits.accuracy_drop
    measured = samples[len(samples) // 2 :]
    whole = open_model(model)
    answers = read_answers(whole, measured)
    changes: Changes | None = None
    if max_drop is None:
        notes = ["Answers that splitting changes were not counted: no limit on accuracy was given."]
    elif answers is None:
        notes = ["Accuracy is not known: the model's first output has less than two elements."]
    else:
        notes = []
        changes = changed_answers(graph, report, measured, answers, progress=tell)
    tell("finding the quality of JPEG", 0, 1)
    drop = JPEG_DROP if max_drop is None else max_drop
    jpeg, said = _jpeg(whole, measured, answers, report.macs or 0, drop, value_range)
    tell("finding the quality of JPEG", 1, 1)
    hopes = untrained(report, question.device, changes)
    left = dict(hopes)
    tell("training the coder context", 0, len(hopes))
    # What has been trained leaves less hope for the rest.
    while wanted := could_win(
        question, [*candidates(report, question.device, changes), *jpeg], left
    ):
        here = [key for key in wanted if key[0] == wanted[0][0]]
        report = train_context(report, graph, samples, here)
        left = {key: hope for key, hope in left.items() if key not in here}
        tell("training the coder context", len(hopes) - len(left), len(hopes))
    tell("training the coder context", len(hopes), len(hopes))
    if left:
        notes.append(
            f"The coder context was trained for {len(hopes) - len(left)} of {len(hopes)} features "
            "and widths: elsewhere, even in a third of the bytes of other coders, it would not be "
            "the best or the next best."
        )
    notes.append(said)
    if question.server is None:
        notes.append("The server's time is not counted: no server was given.")
    found = [*candidates(report, question.device, changes), *jpeg]
    return Plan(
        report.model,
        question,
        question.choices(found),
        question.spans(found),
        report.samples,
        notes,
    )


def _jpeg(
    whole: Runner,
    measured: Sequence[Sequence[Array]],
    answers: Sequence[int] | None,
    macs: int,
    max_drop: float,
    value_range: tuple[float, float] | None,
) -> tuple[list[Candidate], str]:
    """The baseline, if there is one, and what to say about it."""
    if answers is None:
        return [], "Inputs were not tried as JPEG: the model has no answers to compare."
    try:
        found = send_jpeg(
            whole, measured, answers, macs, max_drop=max_drop, value_range=value_range
        )
    except (FeatureError, MissingDependencyError) as error:
        return [], f"Inputs were not tried as JPEG: {error}."
    said = f"JPEG is of the lowest quality at which {100 * max_drop:g} % of answers change at most."
    return [found], said
