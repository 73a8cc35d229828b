"""A session that runs no network: its outputs are made up from what it is fed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace

import numpy as np


class FakeSession:
    """Behaves as ``clnn.InferenceSession`` towards a detector.

    Args:
        run: the input tensor to the outputs.
        shape, type: of the input.
        outputs: declared shapes of the outputs.
    """

    def __init__(
        self,
        run: Callable[[np.ndarray], list[np.ndarray]],
        shape: Sequence[int | str | None],
        outputs: Sequence[Sequence[int | str | None]],
        type: str = "tensor(float)",
    ) -> None:
        self.fed: list[np.ndarray] = []
        self.closed = False
        self._run = run
        self._inputs = [SimpleNamespace(name="x", shape=list(shape), type=type)]
        self._outputs = [SimpleNamespace(name=f"y{i}", shape=list(each)) for i, each in enumerate(outputs)]

    def run(self, names: Sequence[str] | None, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        assert names is None
        (tensor,) = feeds.values()
        self.fed.append(tensor)
        return self._run(tensor)

    def get_inputs(self) -> list[SimpleNamespace]:
        return self._inputs

    def get_outputs(self) -> list[SimpleNamespace]:
        return self._outputs

    def used_devices(self) -> list[str]:
        return ["fake:0", "fake:1"]

    def close(self) -> None:
        self.closed = True
