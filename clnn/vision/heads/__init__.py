"""Heads: one small file for each way in which detectors write their boxes. Importing this package registers them."""

from clnn.vision.heads import centernet, fastestdet, nanodet, ultraface, yolov5, yolov8, yolox, yunet  # noqa: F401
from clnn.vision.heads.base import HEADS, Candidates, Head, Shape, Size, describe, fits, get, recognise

__all__ = ["HEADS", "Candidates", "Head", "Shape", "Size", "describe", "fits", "get", "recognise"]
