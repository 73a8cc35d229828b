"""What a worker is asked to run, and the making of it: a network with fixed shapes, in a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


class PeerError(Exception):
    """A runtime cannot run a network, or gives other results; the message is the reason that is reported."""


@dataclass(frozen=True)
class Input:
    """Shape and NumPy dtype of an input."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Job:
    """A network file in which all input shapes are fixed, and what it is to run on.

    ``device`` is an OpenCL device by clnn's name, which runtimes without OpenCL pay no heed to.
    """

    model: str
    inputs: dict[str, Input]
    outputs: tuple[str, ...]
    threads: int
    device: str

    def dumps(self) -> str:
        """As JSON, for a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Job:
        """What :meth:`dumps` wrote."""
        fields = json.loads(text)
        inputs = {name: Input(tuple(one["shape"]), one["dtype"]) for name, one in fields.pop("inputs").items()}
        return cls(inputs=inputs, outputs=tuple(fields.pop("outputs")), **fields)


def prepare(network: str, batch: int, threads: int, device: str, folder: Path) -> Job:
    """Write ``network``, a name in benchmarks/networks.py or an ONNX file, to ``folder`` with a batch of ``batch``.

    Raises:
        PeerError: there is no such network, or it has an input whose size is open or other than asked for.
    """
    import onnx

    from benchmarks.networks import NETWORKS

    if network in NETWORKS:
        model = NETWORKS[network](batch)
    elif Path(network).is_file():
        model = onnx.load(network)
    else:
        raise PeerError(f"no such file, nor one of {', '.join(NETWORKS)}")
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {}
    for value in model.graph.input:
        if value.name not in weights:
            tensor = value.type.tensor_type
            _fix_shape(value.name, tensor.shape, batch)
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            inputs[value.name] = Input(tuple(dim.dim_value for dim in tensor.shape.dim), dtype.name)
    path = folder / f"{Path(network).stem}.onnx"
    onnx.save(model, path)
    return Job(str(path), inputs, tuple(value.name for value in model.graph.output), threads, device)


def _fix_shape(name: str, shape, batch: int) -> None:
    for axis, dim in enumerate(shape.dim):
        if not dim.HasField("dim_value"):
            if axis:
                raise PeerError(f"input '{name}': dimension {axis} ('{dim.dim_param}') is open; fix it in the file")
            dim.dim_value = batch
        elif axis == 0 and dim.dim_value != batch:
            raise PeerError(f"input '{name}': its batch is fixed at {dim.dim_value}, not {batch}")
