"""The bands of a chain as a picture: which rows of which tensor are computed when, and which are kept, in SVG."""

from __future__ import annotations

from collections.abc import Iterator

from clnn.plan.draw import LINE, MARGIN, PALETTE, caption, picture
from clnn.plan.types import Chain

_LEFT, _WIDTH, _BAR, _PITCH = 220, 800, 22, 38
"""Pixels before the bars, of a tensor's whole height, of a bar across, and from one bar to the next."""


def bands_to_svg(chain: Chain, band: int) -> str:
    """A bar per tensor, from its first row to its last, in colours that change from band to band.

    What is kept while ``band`` (counted from 0) is computed has a frame: left of the line in it is the halo, kept from
    the band before.
    """
    top = 2 * MARGIN + 3 * LINE
    head = f"{chain.nodes[0]} to {chain.nodes[-1]} in {chain.bands} bands of {chain.rows} rows"
    about = f"Rows run from left to right, stages from top to bottom. Framed: the rows kept in band {band + 1}."
    parts = [caption(MARGIN, MARGIN + 14, head, "title"), caption(MARGIN, MARGIN + 14 + LINE, about, "dim")]
    for index, tensor in enumerate(chain.schedule.ends):
        parts += _bar(chain, tensor, band, top + index * _PITCH)
    return picture(parts, _LEFT + _WIDTH + MARGIN, top + len(chain.schedule.ends) * _PITCH + MARGIN)


def _bar(chain: Chain, tensor: str, band: int, top: float) -> Iterator[str]:
    schedule = chain.schedule
    height = schedule.ends[tensor][-1]
    scale = _WIDTH / height
    yield caption(MARGIN, top + 10, tensor, "")
    about = f"{height} rows"
    if tensor in chain.buffers:
        buffer = chain.buffers[tensor]
        about += f", {buffer.rows} kept: {buffer.nbytes / 1e3:.0f} KB for {buffer.whole_bytes / 1e3:.0f}"
    yield caption(MARGIN, top + 10 + LINE, about, "dim")
    for each in range(chain.bands):
        start, stop = schedule.computed(tensor, each)
        if start < stop:
            yield _rectangle(start * scale, stop * scale, top, f'class="box" fill="{PALETTE[each % len(PALETTE)]}"')
    if tensor in schedule.starts:
        (start, stop), (new, _) = schedule.kept(tensor, band), schedule.computed(tensor, band)
        for first, last in ((start, stop), (start, new)):
            if first < last:
                yield _rectangle(first * scale, last * scale, top, 'fill="none" stroke="#24292f" stroke-width="1.6"')


def _rectangle(left: float, right: float, top: float, style: str) -> str:
    return f'<rect x="{_LEFT + left:.1f}" y="{top}" width="{right - left:.1f}" height="{_BAR}" {style}/>'
