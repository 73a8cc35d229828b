"""Frames in, boxes out, NumPy only: the next frame is prepared while the device works on the last one."""

from collections.abc import Iterable, Iterator
from importlib import resources

import numpy as np

import clnn

MODEL = resources.files("clnn.models") / "centernet_mbv3_coco.onnx"


def prepare(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """A frame [h, w, 3], uint8, RGB, as the network takes it: [1, 3, height, width], float32, 0 to 255."""
    rows = np.arange(height) * frame.shape[0] // height
    columns = np.arange(width) * frame.shape[1] // width
    return np.ascontiguousarray(frame[rows][:, columns].transpose(2, 0, 1)[None], dtype=np.float32)


def detect(session: clnn.InferenceSession, frames: Iterable[np.ndarray], conf: float = 0.4) -> Iterator[np.ndarray]:
    """For each frame, an array [n, 6]: x1, y1, x2, y2 in its pixels, score, class."""
    (picture,) = session.get_inputs()
    height, width = picture.shape[2:]

    def finish(run, shape: tuple[int, ...]) -> np.ndarray:
        rows = run.result()[0][0]
        rows = rows[rows[:, 4] >= conf]
        rows[:, :4] *= np.array([shape[1] / width, shape[0] / height] * 2)
        return rows

    last = None
    for frame in frames:
        run = session.run_async(None, {picture.name: prepare(frame, height, width)})
        if last is not None:
            yield finish(*last)
        last = run, frame.shape
    if last is not None:
        yield finish(*last)


if __name__ == "__main__":
    random = np.random.default_rng(0)
    with clnn.InferenceSession(str(MODEL)) as session:
        for boxes in detect(session, (random.integers(0, 256, (480, 640, 3), np.uint8) for _ in range(5))):
            print(boxes.round(2))
