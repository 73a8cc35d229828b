"""How well the devices of a platforms.yaml entry share a stream: python benchmarks/streams.py MODEL ENTRY [POLICY].

    efficiency = time of the stream if the speeds of the devices alone added up / its time

In each round every device alone runs some images, all of them together run a stream, and every device alone runs some
again. Speeds alone are those of sessions with that device only, in the same process.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import deque

import numpy as np

import clnn
from clnn.runtime import selection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("entry", help="an entry of platforms.yaml, as bed-two-drivers")
    parser.add_argument("policy", nargs="?", default="batch", choices=["batch", "pipeline"])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    entry = f"#{args.entry}"
    names = [each.info.id for each in selection.select(platforms=entry)]
    with clnn.InferenceSession(args.model, platforms=entry, policy=args.policy) as together:
        alone = {name: clnn.InferenceSession(args.model, name, platforms=entry) for name in names}
        feeds = _feeds(together, args.images)
        for session in alone.values():
            _time_ms(session, feeds[:4])
        _stream_ms(together, feeds)
        efficiencies = [_round(together, alone, feeds) for _ in range(args.rounds)]
        if args.policy == "pipeline":
            print(together.stream_plan())
    low, middle, high = (statistics.quantiles(efficiencies, n=4) if len(efficiencies) > 1 else 3 * efficiencies)
    print(f"efficiency: median {middle:.3f}, quartiles {low:.3f} to {high:.3f}")
    for session in alone.values():
        session.close()


def _feeds(session: clnn.InferenceSession, count: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    (image,) = session.get_inputs()
    shape = [size if isinstance(size, int) else 1 for size in image.shape]
    images = [random.random(shape, np.float32) for _ in range(8)]
    return [{image.name: images[index % len(images)]} for index in range(count)]


def _time_ms(session: clnn.InferenceSession, feeds: list[dict[str, np.ndarray]]) -> float:
    """Time of one of several runs that follow one another."""
    started = time.perf_counter()
    for each in feeds:
        session.run(None, each)
    return (time.perf_counter() - started) * 1e3 / len(feeds)


def _stream_ms(session: clnn.InferenceSession, feeds: list[dict[str, np.ndarray]]) -> float:
    started = time.perf_counter()
    deque(session.run_many(None, feeds), maxlen=0)
    return (time.perf_counter() - started) * 1e3 / len(feeds)


def _round(
    together: clnn.InferenceSession, alone: dict[str, clnn.InferenceSession], feeds: list[dict[str, np.ndarray]]
) -> float:
    some = feeds[: max(len(feeds) // 8, 4)]
    before = {name: _time_ms(session, some) for name, session in alone.items()}
    stream_ms = _stream_ms(together, feeds)
    alone_ms = {name: (before[name] + _time_ms(session, some)) / 2 for name, session in alone.items()}
    ideal_ms = 1 / sum(1 / each for each in alone_ms.values())
    each = ", ".join(f"{name} {ms:.2f}" for name, ms in alone_ms.items())
    print(f"ms per image alone: {each}; together {stream_ms:.2f}, ideal {ideal_ms:.2f}: {ideal_ms / stream_ms:.3f} "
          f"{together.stream_images()}", flush=True)
    return ideal_ms / stream_ms


if __name__ == "__main__":
    main()
