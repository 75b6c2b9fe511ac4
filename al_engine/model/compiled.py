"""Functions of tensors, with derivatives inside, as compiled graphs: one for each set of shapes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

Function = Callable[[Sequence[Tensor]], list[Tensor]]


class Compiled:
    """A function from tensors to tensors, compiled for the shapes of each call.

    `torch.compile` alone fails on a gradient within a function: it is traced into a graph of plain operations
    first. Inductor is known to have produced wrong numbers: the first results of a graph are compared with
    those of the function, which takes its place, with a warning, where they differ or a compiler fails.
    """

    def __init__(self, function: Function, tolerance: float, what: str) -> None:
        """Prepare.

        Args:
            function: What is compiled.
            tolerance: Largest error of a result, relative to its norm.
            what: Goes on uncompiled, in the warning.
        """
        self._function, self._tolerance, self._what = function, tolerance, what
        self._graphs: dict[tuple[torch.Size, ...], Function] = {}

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Evaluate; the results are detached."""
        shapes = tuple(tensor.shape for tensor in tensors)
        if shapes not in self._graphs:
            self._graphs[shapes] = self._compiled(tensors)
        with torch.no_grad():
            return self._graphs[shapes](tensors)

    def _eager(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        with torch.enable_grad():
            return [value.detach() for value in self._function(tensors)]

    def _compiled(self, tensors: Sequence[Tensor]) -> Function:
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # the compiler's own imports
                traced = make_fx(lambda x: self._eager(x))(tensors)  # noqa: PLW0108 (not for methods)
                graph: Function = torch.compile(_with_opaque_rows(traced), dynamic=False)
                found = graph(tensors)
        except Exception as error:  # a compiler may fail in many ways; the eager path is always there
            warnings.warn(f"{self._what} goes on uncompiled: {type(error).__name__}: {error}", stacklevel=4)
            return self._eager
        for value, expected in zip(found, self._eager(tensors), strict=True):
            if not float((value - expected).norm()) <= self._tolerance * float(expected.norm()) + 1e-8:
                warnings.warn(
                    f"{self._what} goes on uncompiled: the compiled numbers are wrong", stacklevel=4
                )
                return self._eager
        return graph


def tensors_of(record: Any) -> list[Tensor]:
    """Return all tensors of a dataclass and of those within it."""
    return [
        t
        for value in _values(record).values()
        for t in ([value] if isinstance(value, Tensor) else tensors_of(value))
    ]


def with_tensors(record: Any, tensors: Iterator[Tensor]) -> Any:
    """Return the dataclass with other tensors, in the order of `tensors_of`."""
    return replace(
        record,
        **{
            name: next(tensors) if isinstance(value, Tensor) else with_tensors(value, tensors)
            for name, value in _values(record).items()
        },
    )


def _values(record: Any) -> dict[str, Any]:
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    return {name: v for name, v in values.items() if isinstance(v, Tensor) or is_dataclass(v)}


@torch.library.custom_op("al_engine::take", mutates_args=())
def _take(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Gather rows where inductor cannot look inside.

    It fuses a gather with all that makes its input, and computes that anew for each row; kept apart, a
    training step takes a third less time.
    """
    return x.index_select(dim, index)


@_take.register_fake
def _(x: Tensor, dim: int, index: Tensor) -> Tensor:
    shape = list(x.shape)
    shape[dim] = len(index)
    return x.new_empty(shape)


@torch.library.custom_op("al_engine::put", mutates_args=())
def _put(x: Tensor, dim: int, index: Tensor, rows: Tensor) -> Tensor:
    """Add rows to others; inductor's own way is not the same on every run with several threads."""
    return x.index_add(dim, index, rows)


@_put.register_fake
def _(x: Tensor, _dim: int, _index: Tensor, _rows: Tensor) -> Tensor:
    return torch.empty_like(x)


_OPAQUE = {
    torch.ops.aten.index_select.default: torch.ops.al_engine.take.default,
    torch.ops.aten.index_add.default: torch.ops.al_engine.put.default,
}


def _with_opaque_rows(traced: torch.fx.GraphModule) -> torch.fx.GraphModule:
    for node in traced.graph.nodes:
        node.target = _OPAQUE.get(node.target, node.target)
    traced.recompile()
    return traced
