"""A made-up CUDA device: work is handed over, and done later, in order; as on a stream.

``LATE`` does it when somebody waits for it, ``EARLY`` at once. Host memory is read and written when
the work is done, not when it is handed over: so what reuses a buffer too soon spoils pixels here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_map

from nirgeo.accelerator import Accelerator


class Stream:
    def __init__(self, *, late: bool = True) -> None:
        self.late, self.waiting, self.done, self.current = late, [], 0, False

    def hand_over(self, work: Callable[[], None]) -> None:
        assert self.current, "work for the default stream"
        self.waiting.append(work)
        if not self.late:
            self.run()

    def run(self, upto: int | None = None) -> None:
        while self.waiting and (upto is None or self.done < upto):
            with torch.inference_mode():
                self.waiting.pop(0)()
            self.done += 1

    @property
    def end(self) -> int:
        return self.done + len(self.waiting)


class Event:
    def __init__(self, **_: Any) -> None:
        self.at = None

    def record(self, stream: Stream) -> None:
        self.stream, self.at = stream, stream.end

    def synchronize(self) -> None:
        assert self.at is not None
        self.stream.run(self.at)


STREAM: list[Stream] = []


class There(torch.Tensor):
    """A tensor on the device: its shape is known at once, its values when the work is done."""

    @staticmethod
    def __new__(cls, like: torch.Tensor) -> There:
        with torch.inference_mode(False):
            return torch.Tensor._make_wrapper_subclass(
                cls, like.shape, strides=like.stride(), dtype=like.dtype, device="cpu"
            )

    def __init__(self, like: torch.Tensor) -> None:
        self.form, self.content = like, None

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}

        def shape_only(x: Any) -> Any:
            if isinstance(x, There):
                return x.form
            return x.to("meta") if isinstance(x, torch.Tensor) else x

        def real(x: Any) -> Any:
            return x.content if isinstance(x, There) else x

        kw = {k: v for k, v in kwargs.items() if k != "device"}
        made = func(
            *tree_map(shape_only, args),
            **tree_map(shape_only, kw),
            **({"device": "meta"} if "device" in kwargs else {}),
        )
        outs: list[There] = []

        def wrapped(x: Any) -> Any:
            if not isinstance(x, torch.Tensor):
                return x
            outs.append(There(x))
            return outs[-1]

        name = func._schema.name
        inplace = name.endswith("_") or "out" in kwargs
        result = tree_map(wrapped, made)

        def work() -> None:
            found = func(
                *tree_map(real, args),
                **tree_map(real, kw),
                **({"device": "cpu"} if "device" in kwargs else {}),
            )
            flat = [
                x for x in torch.utils._pytree.tree_leaves(found) if isinstance(x, torch.Tensor)
            ]
            for out, value in zip(outs, flat, strict=True):
                out.content = value

        STREAM[-1].hand_over(work)
        if inplace:
            return kwargs.get("out", args[0])
        return result


class Pinned(torch.Tensor):
    """Host memory that the device reads and writes by itself."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        stream = STREAM[-1]
        plain = args[0].as_subclass(torch.Tensor) if isinstance(args[0], Pinned) else args[0]
        if func is torch.Tensor.to and isinstance(args[0], Pinned):
            made = There(torch.empty_like(plain, device="meta"))

            def copy() -> None:
                made.content = plain.clone()

            stream.hand_over(copy)
            if not kwargs.get("non_blocking"):
                stream.run()
            return made
        if func is torch.Tensor.copy_ and isinstance(args[1], There):
            source = args[1]
            stream.hand_over(lambda: plain.copy_(source.content))
            if not kwargs.get("non_blocking"):
                stream.run()
            return args[0]
        return super().__torch_function__(func, types, args, kwargs)


class Device(Accelerator):
    def __init__(self, *, late: bool) -> None:
        super().__init__("cpu")
        self._cuda, self._stream = True, Stream(late=late)
        STREAM.append(self._stream)


@contextmanager
def on_stream(stream: Stream) -> Iterator[None]:
    before, stream.current = stream.current, True
    try:
        yield
    finally:
        stream.current = before


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = torch.empty

    def pinned(*shape: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        made = empty(*shape, **options)
        return made.as_subclass(Pinned) if pin_memory else made

    monkeypatch.setattr(torch, "empty", pinned)
    monkeypatch.setattr(torch.cuda, "stream", on_stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
