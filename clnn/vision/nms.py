"""Non-maximum suppression."""

from __future__ import annotations

import numpy as np


def iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box [4] with others [n, 4], all x1 y1 x2 y2; 0 where both are empty."""
    top_left = np.maximum(box[:2], others[:, :2])
    bottom_right = np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.clip(bottom_right - top_left, 0, None), axis=1)
    union = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def nms(boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, max_iou: float, limit: int) -> np.ndarray:
    """Greedy suppression within each class.

    The best box stays, those of its class that overlap it by more than ``max_iou`` go, and so on with the rest.

    Args:
        boxes: [n, 4] float, x1 y1 x2 y2 in any unit.
        scores: [n] float. Equal scores keep the order they came in.
        class_ids: [n] int. Boxes of different classes do not touch each other.
        limit: stop when so many boxes are kept.

    Returns:
        Indices of the boxes kept, best first.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size and len(kept) < limit:
        best, order = order[0], order[1:]
        kept.append(best)
        overlaps = iou(boxes[best], boxes[order]) > max_iou
        order = order[~(overlaps & (class_ids[order] == class_ids[best]))]
    return np.array(kept, dtype=np.intp)
