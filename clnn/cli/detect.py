"""``clnn detect``: find objects in photos."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clnn.cli import common, detector_options
from clnn.errors import InputError, UsageError

if TYPE_CHECKING:
    from clnn.vision.detector import Detector
    from clnn.vision.save import Saver
    from clnn.vision.sources import Source

_SAVING = "Saving"
_FOLDER = "detections"


def command(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Photos, folders, patterns, .txt files with a path per line, or - for standard input.",
            show_default=False,
        ),
    ],
    model: detector_options.Model = "default",
    head: detector_options.Head = None,
    labels: detector_options.Labels = None,
    imgsz: detector_options.Imgsz = None,
    iou: detector_options.Iou = 0.45,
    conf: Annotated[float, typer.Option("--conf", help="Least score of a detection.")] = 0.25,
    max_det: Annotated[int, typer.Option("--max-det", help="Most detections per photo.")] = 100,
    classes: Annotated[
        str | None,
        typer.Option("--classes", metavar="NAMES", show_default=False, help="Only these, by name or index: dog,cat,7"),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", help="Photos per run, where the network allows it.")] = 1,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            rich_help_panel=_SAVING,
            show_default=_FOLDER,
            help="Folder for what is saved.",
        ),
    ] = None,
    no_save: Annotated[
        bool, typer.Option("--no-save", rich_help_panel=_SAVING, help="Do not save photos with their boxes.")
    ] = False,
    save_txt: Annotated[
        bool,
        typer.Option(
            "--save-txt",
            rich_help_panel=_SAVING,
            help="Save a text file per photo, a line per object: class, centre x, centre y, width, height as "
            "fractions of the photo, score.",
        ),
    ] = False,
    device: common.Device = None,
    policy: common.Policy = None,
    platforms: common.Platforms = None,
    platform: common.Platform = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """Find objects in photos, print them, and save the photos with their boxes."""
    common.start(quiet, verbose)
    if no_save and out is not None and not save_txt:
        raise UsageError("--out and --no-save exclude each other; leave one out")
    from clnn.vision.detector import Detector
    from clnn.vision.save import Saver
    from clnn.vision.sources import expand

    photos = expand(sources, sys.stdin.buffer.read)
    folder = Path(out or _FOLDER)
    saver = Saver(folder, photos, pictures=not no_save, text=save_txt)
    start = time.perf_counter()
    with common.compiling(quiet):
        detector = Detector(
            model,
            device,
            conf,
            iou,
            max_det,
            head=head,
            labels=labels,
            classes=classes.split(",") if classes else None,
            imgsz=detector_options.parse_imgsz(imgsz),
            policy=policy,
            platforms=common.platforms_reference(platforms, platform),
        )
    load_ms = (time.perf_counter() - start) * 1e3
    with detector:
        if batch > 1:
            size = detector.batch_size(batch)
            how = f"in batches of {size}" if size > 1 else "one by one, as the network's batch dimension is fixed"
            common.note(f"photos run {how}", quiet)
        results, failed = _run(detector, photos, batch, saver, quiet)
        found = {"model": detector.network.name, "device": detector.device, "images": results}
    if json:
        common.say_json(found)
    else:
        _print(found, load_ms)
    if results and (save_txt or not no_save):
        common.note(f"saved in {folder}", quiet)
    if failed:
        raise InputError(f"{len(failed)} of {len(photos)} photos could not be used; the errors above say why")


def _run(
    detector: Detector, photos: Sequence[Source], batch: int, saver: Saver, quiet: bool
) -> tuple[list[dict[str, Any]], list[str]]:
    """Results as JSON has them, saved as they come, and the names of photos that could not be used."""
    results: list[dict[str, Any]] = []
    failed: list[str] = []
    with common.progress("detecting", len(photos), quiet) as advance:

        def report(name: str, error: InputError) -> None:
            failed.append(name)
            logging.getLogger("clnn").error("%s", error)
            advance()

        # Of a single photo, the error is all there is to say.
        for result in detector.detect_many(photos, batch, report if len(photos) > 1 else None):
            saver.save(result)
            # The dict lets go of the pixels.
            results.append(result.to_dict())
            advance()
    return results, failed


def _print(found: dict[str, Any], load_ms: float) -> None:
    """Objects of each photo as a table; then the device, and the mean time of each part."""
    for image in found["images"]:
        objects: Sequence[dict[str, Any]] = image["detections"]
        count = {0: "nothing found", 1: "1 object"}.get(len(objects), f"{len(objects)} objects")
        common.say(f"{image['image']}, {image['width']}×{image['height']}: {count}")
        if objects:
            rows = [
                (each["label"], f"{each['score']:.2f}", *(f"{edge:.0f}" for edge in each["box"])) for each in objects
            ]
            edges = ("x1", "y1", "x2", "y2")
            common.say(common.table(("label", "score", *edges), rows, right=("score", *edges)))
    if found["images"]:
        times = [image["timing_ms"] for image in found["images"]]
        parts = ", ".join(f"{part} {sum(each[part] for each in times) / len(times):.1f} ms" for part in times[0])
        mean = " (mean per photo)" if len(times) > 1 else ""
        common.say(f"{found['model']} on {found['device']}: load {load_ms:.0f} ms, {parts}{mean}")
