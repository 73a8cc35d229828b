"""The geometry of a sliding window over pictures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pixels:
    """A tensor as kernels see it: from element ``offset`` on, pixels of channels that lie side by side.

    From one pixel to the next it is ``pitch`` elements, more than there are channels where the tensor is a part of
    a larger one. The rows of a matrix count as pixels.
    """

    name: str
    pitch: int
    offset: int = 0


@dataclass(frozen=True)
class Window:
    """A window that slides over ``batch`` pictures; everything counts pixels.

    ``pad_top`` and ``pad_left`` rows and columns are added before a picture; how many follow it shows in
    ``out_height`` and ``out_width``.
    """

    batch: int
    height: int
    width: int
    out_height: int
    out_width: int
    kernel_h: int = 1
    kernel_w: int = 1
    stride_h: int = 1
    stride_w: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    pad_top: int = 0
    pad_left: int = 0

    @classmethod
    def flat(cls, rows: int) -> Window:
        """The window of a matrix product: one picture of a single row, one pixel per row of the matrix."""
        return cls(batch=1, height=1, width=rows, out_height=1, out_width=rows)

    @property
    def rows(self) -> int:
        """Output pixels."""
        return self.batch * self.out_height * self.out_width

    @property
    def taps(self) -> int:
        return self.kernel_h * self.kernel_w

    @property
    def is_padded(self) -> bool:
        """Whether some tap of some pixel lies outside the picture."""
        below = (self.out_height - 1) * self.stride_h + (self.kernel_h - 1) * self.dilation_h - self.pad_top
        right = (self.out_width - 1) * self.stride_w + (self.kernel_w - 1) * self.dilation_w - self.pad_left
        return self.pad_top > 0 or self.pad_left > 0 or below >= self.height or right >= self.width

    @property
    def is_pointwise(self) -> bool:
        """Whether output pixel i sees input pixel i and nothing else."""
        same = (self.height, self.width) == (self.out_height, self.out_width)
        return same and self.taps == self.stride_h == self.stride_w == 1 and not self.is_padded

    @property
    def args(self) -> tuple[int, ...]:
        """The geometry as the kernels take it, after ``batch``, which they do not need."""
        return (
            self.height, self.width, self.out_height, self.out_width,
            self.kernel_h, self.kernel_w, self.stride_h, self.stride_w,
            self.dilation_h, self.dilation_w, self.pad_top, self.pad_left,
        )  # fmt: skip
