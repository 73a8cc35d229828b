"""A detector: a network, the way its pictures are prepared and the way its boxes are read, as one object."""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clnn.errors import InputError, ModelError, UsageError
from clnn.vision import heads, image, zoo
from clnn.vision.detection import Detection, ImageResult
from clnn.vision.heads import Size
from clnn.vision.network import Labels, examine
from clnn.vision.postprocess import Limits, detections
from clnn.vision.preprocess import Placement, prepare
from clnn.vision.sources import Source

__all__ = ["Detection", "Detector", "ImageResult"]

OnError = Callable[[str, InputError], None]


@dataclass(frozen=True)
class _Picture:
    """A decoded picture on its way through the network."""

    name: str
    pixels: np.ndarray
    decode_ms: float


@dataclass(frozen=True)
class _Group:
    """Pictures of one run, and the tensor that they were prepared into."""

    pictures: Sequence[_Picture]
    tensor: np.ndarray
    placements: Sequence[Placement]
    preprocess_ms: Sequence[float]


class Detector:
    """Finds objects in pictures; several threads may call it at once.

    Args:
        model: "default", a name of the model zoo, the path of an ONNX file or of a zoo YAML file, or the bytes of an
            ONNX file. The head of a file that the zoo does not know is recognised from its outputs.
        devices, policy, options, platforms: as ``clnn.InferenceSession`` takes them.
        conf: least score of a detection, 0 to 1.
        iou: two boxes of a class that overlap by more than this are one object; not used by networks that pick
            their boxes themselves.
        max_det: most detections per picture.
        head: how the outputs are read, instead of what the zoo says or what is recognised; pictures are then
            prepared as is the custom of that family.
        labels: class names, or the path of a text file with one name per line.
        classes: names or indices of the classes that are wanted; ``None``: all.
        imgsz: side, or (height, width), of the input of a network whose input has no fixed size, rounded up to a
            multiple of 32; ``None``: what the zoo says, else 640.
        session: run the network here instead of opening a session: a ``clnn.InferenceSession`` to be shared, or an
            ``onnxruntime.InferenceSession`` to compare with. ``close`` leaves it open.

    Raises:
        ModelError: the model cannot be used, or no head fits its outputs.
        UsageError: an argument has no meaning.
        InputError: the file of labels cannot be read.
        DeviceError: no device can be used.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Any = "default",
        devices: str | Sequence[str] | None = None,
        conf: float = 0.25,
        iou: float = 0.45,
        max_det: int = 100,
        *,
        head: str | None = None,
        labels: Labels | None = None,
        classes: Sequence[str | int] | None = None,
        imgsz: int | Size | None = None,
        policy: str | None = None,
        options: Mapping[str, Any] | Any | None = None,
        platforms: str | os.PathLike[str] | None = None,
        session: Any | None = None,
    ) -> None:
        resolved = zoo.resolve(model)
        self._owns_session = session is None
        if session is None:
            # The rest of this module works on any session, and is tested without OpenCL.
            from clnn.session import InferenceSession

            session = InferenceSession(resolved.source, devices, policy, options, platforms)
        self.session = session
        try:
            self.network = examine(session, resolved, head, labels, imgsz)
            self._limits = Limits(conf, iou, max_det, _class_ids(classes, self.network.labels))
        except BaseException:
            self.close()
            raise

    @property
    def device(self) -> str:
        """Ids of the devices that the network runs on, comma-separated."""
        if not hasattr(self.session, "used_devices"):
            return ",".join(self.session.get_providers())
        return ",".join(self.session.used_devices()) or "host"

    def __call__(self, source: image.ImageSource) -> list[Detection]:
        """Find the objects in one picture, best first.

        Args:
            source: a path, the bytes of an encoded picture, a Pillow image, or an array [height, width, 3], uint8, RGB.

        Raises:
            InputError: the picture cannot be used.
        """
        (result,) = self.detect_many([source])
        return list(result.detections)

    def detect_many(
        self, sources: Iterable[image.ImageSource | Source], batch: int = 1, on_error: OnError | None = None
    ) -> Iterator[ImageResult]:
        """Find the objects in many pictures, one result after the other, in their order.

        On a session that works on several devices at once, pictures are decoded and prepared in a thread of their own
        while the devices are at others; the "inference" of ``timing_ms`` is then how long the result was waited for.

        Args:
            batch: pictures per run; see ``batch_size``.
            on_error: called with the name of a picture that cannot be used and the reason; it is then left out.
                ``None``: the error is raised.
        """
        batch_size = self.batch_size(batch)
        pictures = _load_all(sources, on_error)
        groups = (self._prepare(group) for group in iter(lambda: list(itertools.islice(pictures, batch_size)), []))
        for group, outputs, run_ms in self._run(groups):
            yield from self._read(group, outputs, run_ms / len(group.pictures))

    def batch_size(self, batch: int) -> int:
        """Pictures that one run really takes: ``batch``, unless the network's batch dimension is fixed.

        Raises:
            UsageError: ``batch`` is not a positive number.
        """
        if batch < 1:
            raise UsageError(f"batch {batch}: not a number of pictures; give 1 or more")
        return self.network.batch or batch

    def close(self) -> None:
        """Free the session's devices, unless the session was given."""
        if self._owns_session:
            self.session.close()

    def __enter__(self) -> Detector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self, pictures: Sequence[_Picture]) -> _Group:
        """The tensor of one run."""
        network = self.network
        # A network with a fixed batch takes blank pictures in the slots that are left over.
        tensor = np.zeros((network.batch or len(pictures), 3, *network.size), network.dtype)
        placements: list[Placement] = []
        preprocess_ms: list[float] = []
        for slot, picture in enumerate(pictures):
            start = time.perf_counter()
            tensor[slot], placement = prepare(picture.pixels, network.how, network.size)
            placements.append(placement)
            preprocess_ms.append(_ms_since(start))
        return _Group(pictures, tensor, placements, preprocess_ms)

    def _run(self, groups: Iterator[_Group]) -> Iterator[tuple[_Group, list[np.ndarray], float]]:
        """Groups with the outputs of the network, and milliseconds waited for them."""
        if not getattr(self.session, "streams", False):
            for group in groups:
                start = time.perf_counter()
                outputs = self.session.run(None, {self.network.input: group.tensor})
                yield group, outputs, _ms_since(start)
            return
        under_way: deque[_Group] = deque()

        def feeds() -> Iterator[dict[str, np.ndarray]]:
            for group in groups:
                under_way.append(group)
                yield {self.network.input: group.tensor}

        start = time.perf_counter()
        for outputs in self.session.run_many(None, feeds()):
            yield under_way.popleft(), outputs, _ms_since(start)
            start = time.perf_counter()

    def _read(self, group: _Group, outputs: Sequence[np.ndarray], inference_ms: float) -> Iterator[ImageResult]:
        """The objects in each picture of a run."""
        network = self.network
        for slot, picture in enumerate(group.pictures):
            start = time.perf_counter()
            own = self._of_slot(outputs, slot, len(group.tensor))
            found = detections(network.head, own, network.size, group.placements[slot], self._limits, network.labels)
            height, width = picture.pixels.shape[:2]
            timing_ms = {
                "decode": picture.decode_ms,
                "preprocess": group.preprocess_ms[slot],
                "inference": inference_ms,
                "postprocess": _ms_since(start),
            }
            yield ImageResult(picture.name, width, height, found, timing_ms, picture.pixels)

    def _of_slot(self, outputs: Sequence[np.ndarray], slot: int, slots: int) -> list[np.ndarray]:
        """The outputs of one picture of a batch."""
        name, head = self.network.name, self.network.head
        if slots > 1:
            if any(output.shape[:1] != (slots,) for output in outputs):
                found = heads.describe([output.shape for output in outputs])
                raise ModelError(f"model '{name}': a batch of {slots} gives outputs {found}; use batch 1")
            outputs = [output[slot : slot + 1] for output in outputs]
        # Dimensions that the model leaves open are known only now.
        if not head.matches([output.shape for output in outputs], self.network.size):
            found = heads.describe([output.shape for output in outputs])
            raise ModelError(f"model '{name}': head {head.name} does not fit its outputs {found}; give another --head")
        return list(outputs)


def _load_all(sources: Iterable[image.ImageSource | Source], on_error: OnError | None) -> Iterator[_Picture]:
    """Decode the pictures that can be read."""
    for source in sources:
        named = source if isinstance(source, Source) else Source(image.name_of(source), source)
        start = time.perf_counter()
        try:
            pixels = image.load(named.data, named.name)
        except InputError as error:
            if on_error is None:
                raise
            on_error(named.name, error)
        else:
            yield _Picture(named.name, pixels, _ms_since(start))


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1e3


def _class_ids(classes: Sequence[str | int] | None, labels: Sequence[str]) -> frozenset[int] | None:
    """Indices of classes given by name or index."""
    if classes is None:
        return None
    known = {label: index for index, label in enumerate(labels)} | {str(index): index for index in range(len(labels))}
    unknown = [each for each in classes if str(each) not in known]
    if unknown:
        raise UsageError(f"class '{unknown[0]}' is not known; the model has {', '.join(labels)}")
    return frozenset(known[str(each)] for each in classes)
