"""Detections drawn into a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from clnn.vision.detection import Detection

GOLDEN_RATIO = 0.618034


def draw(pixels: np.ndarray, detections: Iterable[Detection]) -> Image.Image:
    """A copy of a picture [height, width, 3], uint8, RGB, with boxes, labels with scores, and landmarks.

    Lines and letters grow with the picture. The best detections are drawn last, over the others.
    """
    picture = Image.fromarray(pixels)
    canvas = ImageDraw.Draw(picture)
    side = max(picture.size)
    stroke = max(1, round(side / 300))
    font = ImageFont.load_default(max(11, side / 45))
    for found in sorted(detections, key=lambda detection: detection.score):
        colour = colour_of(found.class_id)
        canvas.rectangle(found.box, outline=colour, width=stroke)
        for x, y in found.landmarks or ():
            canvas.ellipse((x - stroke, y - stroke, x + stroke, y + stroke), fill=colour)
        _write(canvas, f"{found.label} {found.score:.2f}", found.box, colour, font, stroke)
    return picture


def colour_of(class_id: int) -> tuple[int, int, int]:
    """A colour of its own for each class: steps of the golden ratio never bring two hues of few classes together."""
    red, green, blue = colorsys.hsv_to_rgb(class_id * GOLDEN_RATIO % 1, (0.95, 0.7)[class_id % 2], 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _write(
    canvas: ImageDraw.ImageDraw,
    text: str,
    box: tuple[float, float, float, float],
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    stroke: int,
) -> None:
    """Write a label on a ground of the box's colour, above the box where there is room, and inside the picture."""
    left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
    width, height = right - left + 2 * stroke, bottom - top + 2 * stroke
    picture_width, picture_height = canvas.im.size
    x = max(0, min(box[0], picture_width - width))
    y = box[1] - height if box[1] >= height else min(box[1], max(0, picture_height - height))
    canvas.rectangle((x, y, x + width, y + height), fill=colour)
    # Black on light colours, white on dark ones: by the luminance of ITU-R BT.601.
    light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    canvas.text((x + stroke - left, y + stroke - top), text, fill="black" if light else "white", font=font)
