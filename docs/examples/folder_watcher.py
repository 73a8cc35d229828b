"""Watch a folder and write a line of JSON for each photo that arrives: python folder_watcher.py FOLDER"""

import json
import sys
import threading
from pathlib import Path
from typing import TextIO

import clnn


def watch(folder: Path, detector: clnn.Detector, log: TextIO, stop: threading.Event, every_s: float = 0.5) -> None:
    """Detect in each new or changed .jpg of ``folder`` until ``stop`` is set."""
    seen: dict[Path, tuple[int, int]] = {}
    done: dict[Path, tuple[int, int]] = {}
    while not stop.wait(every_s):
        for path in sorted(folder.glob("*.jpg")):
            try:
                state = (path.stat().st_size, path.stat().st_mtime_ns)
            except FileNotFoundError:  # it went away since the folder was listed
                continue
            # A photo that still grows is left for the next round.
            if seen.get(path) == state and done.get(path) != state:
                try:
                    found = [each.to_dict() for each in detector(path)]
                    entry = {"image": path.name, "detections": found}
                except clnn.InputError as error:
                    entry = {"image": path.name, "error": str(error)}
                print(json.dumps(entry), file=log, flush=True)
                done[path] = state
            seen[path] = state


if __name__ == "__main__":
    with clnn.Detector() as detector:
        watch(Path(sys.argv[1]), detector, sys.stdout, threading.Event())
