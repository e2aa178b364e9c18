"""More tails than are held in memory: when they are opened, and when they leave."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pysplitcodec.errors import ArgumentError, ModelError

NEEDS = 'needs "pysplitcodec[serve]"'
for name in ("starlette", "prometheus_client"):
    pytest.importorskip(name, reason=NEEDS)

from fake_model import FakeModel  # noqa: E402

from pysplitcodec.serve import Tail  # noqa: E402
from pysplitcodec.serve.limits import RefusalError  # noqa: E402
from pysplitcodec.serve.multiplexed import MultiplexedService  # noqa: E402
from pysplitcodec.serve.sources import Found, find, load  # noqa: E402
from pysplitcodec.serve.tail import TailFile, Work  # noqa: E402

WAIT_S = 30
Loads = Callable[[str], Awaitable[Any]]


def last(count: int) -> Callable[[Loads], Loads]:
    """Remembers so many of what it was asked for last, as Ray does."""

    def cached(load: Loads) -> Loads:
        known: OrderedDict[str, Any] = OrderedDict()
        lock = asyncio.Lock()

        async def found(name: str) -> Any:
            if name not in known:
                async with lock:
                    if name not in known:
                        while len(known) >= count:
                            known.popitem(last=False)
                        known[name] = await load(name)
            known.move_to_end(name)
            return known[name]

        return found

    return cached


class Files:
    """Tails that multiply by a number, and which of them were opened."""

    def __init__(self, **factors: float) -> None:
        self.opened: list[str] = []
        self.tails: dict[str, weakref.ref[Tail]] = {}
        self.found = Found([self._file(*one) for one in factors.items()], [])

    def _file(self, name: str, factor: float) -> TailFile:
        def opened() -> Tail:
            self.opened.append(name)
            tail = Tail(self.model(factor), name=name)
            self.tails[name] = weakref.ref(tail)
            return tail

        return TailFile(name, opened)

    def model(self, factor: float) -> Any:
        return FakeModel(lambda array: [array * factor])


async def ask(service: MultiplexedService, model: str) -> float:
    await service.tail(model)
    work = Work([np.ones((1, 2), np.float32)], False, {"out": True})
    return float((await service.answer(model, work, "me")).outputs["out"][0, 0])


def run(scenario: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, WAIT_S))


def test_tails_are_opened_when_asked_for_and_forgotten() -> None:
    files = Files(a=2, b=3, c=4)

    async def scenario() -> None:
        service = MultiplexedService(files.found, last(2))
        assert service.models == ["a", "b", "c"] and files.opened == []
        assert [await ask(service, model) for model in "aba"] == [2, 3, 2]
        assert files.opened == ["a", "b"]
        assert await ask(service, "c") == 4
        gc.collect()
        assert {name for name, tail in files.tails.items() if tail()} == {"a", "c"}
        text = service.metrics.text().decode()
        assert 'waiting_requests{model="c"}' in text
        assert 'waiting_requests{model="b"}' not in text
        assert 'splitcodec_run_requests_count{model="b"} 1.0' in text  # it counted all the same
        assert await ask(service, "b") == 3
        assert files.opened == ["a", "b", "c", "b"]

    run(scenario())


def test_a_forgotten_tail_answers_what_it_has() -> None:
    go, begun = threading.Event(), threading.Event()

    class Held(Files):
        def model(self, factor: float) -> Any:
            def held(array: np.ndarray) -> list[np.ndarray]:
                if factor == 2 and array.any():  # the tail's first run, at the start, is on zeros
                    begun.set()
                    assert go.wait(WAIT_S)
                return [array * factor]

            return FakeModel(held)

    files = Held(a=2, b=3)

    async def scenario() -> None:
        service = MultiplexedService(files.found, last(1))
        asked = [asyncio.ensure_future(ask(service, "a")) for _ in range(3)]
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, begun.wait, WAIT_S)
        assert await ask(service, "b") == 3
        go.set()
        assert await asyncio.gather(*asked) == [2, 2, 2]
        assert await ask(service, "b") == 3
        asked.clear()
        gc.collect()
        assert files.tails["a"]() is None and files.opened == ["a", "b"]

    run(scenario())


def test_what_there_is_not() -> None:
    async def scenario() -> None:
        service = MultiplexedService(Files(a=2, b=3).found, last(1))
        with pytest.raises(RefusalError, match="no model 'z': this server has 'a', 'b'") as refused:
            await service.tail("z")
        assert refused.value.status == 404

    run(scenario())
    with pytest.raises(ArgumentError, match="models are a, a"):
        MultiplexedService(Found([*Files(a=2).found.tails, *Files(a=3).found.tails], []), last(1))
    with pytest.raises(ArgumentError, match="models are none"):
        MultiplexedService(Found([], []), last(1))


def test_one_file_that_cannot_be_opened() -> None:
    files = Files(a=2, b=3)

    def broken() -> Tail:
        raise ModelError("b.onnx: expected a model")

    async def scenario() -> None:
        found = Found([files.found.tails[0], TailFile("b", broken)], [])
        service = MultiplexedService(found, last(1))
        assert await ask(service, "a") == 2
        with pytest.raises(ModelError, match=r"b\.onnx") as error:
            await ask(service, "b")
        assert service.refused(error.value, "me", "GET b", "b").status == 500
        assert await ask(service, "a") == 2

    run(scenario())


def test_files_are_checked_again_when_they_are_opened(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason='needs "pysplitcodec[tflite]"')
    from digits_bundle import write_digits_bundle
    from digits_offers import digits_offers

    from pysplitcodec.demo import load_digits
    from pysplitcodec.serve import write_offers

    digits, bundle = load_digits(), write_digits_bundle(tmp_path / "bundle")
    write_offers(tmp_path / "offers", "mlp", digits_offers(digits, tmp_path))
    sources = [bundle, tmp_path / "offers"]

    found = find(sources)
    assert [one.name for one in found.tails] == [one.name for one in load(sources).tails]
    assert [one.open().name for one in found.tails] == [one.name for one in found.tails]
    (bundle / "tail.tflite").write_bytes(digits.tail + b"x")
    with pytest.raises(ModelError, match="SHA-256"):
        found.tails[0].open()
    offered = found.offers[0].offers[0].tail
    offered.write_bytes(offered.read_bytes() + b"x")
    with pytest.raises(ModelError, match="SHA-256"):
        found.tails[1].open()
