"""``clnn eval``: measure a detector on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clnn.cli import common, detector_options


def command(
    data: Annotated[
        str, typer.Option("--data", metavar="FILE", help="True boxes: COCO's instances.json.", show_default=False)
    ],
    images: Annotated[
        str, typer.Option("--images", metavar="DIR", help="Folder of the data set's photos.", show_default=False)
    ],
    category_map: Annotated[
        str | None,
        typer.Option(
            "--category-map",
            metavar="FILE",
            show_default=False,
            help="YAML or JSON: 'category of the data set: class of the model'; null leaves one out.",
        ),
    ] = None,
    model: detector_options.Model = "default",
    head: detector_options.Head = None,
    labels: detector_options.Labels = None,
    imgsz: detector_options.Imgsz = None,
    iou: detector_options.Iou = 0.45,
    device: common.Device = None,
    policy: common.Policy = None,
    platforms: common.Platforms = None,
    platform: common.Platform = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """Measure a detector's mean average precision on a data set in COCO's format."""
    common.start(quiet, verbose)
    from clnn.tools import dataset, evaluation
    from clnn.vision.detector import Detector

    # What is quickly seen to be wrong, before a network is loaded.
    evaluation.import_pycocotools()
    table = dataset.read_category_map(Path(category_map)) if category_map else None
    photos = dataset.read(Path(data), Path(images))
    with common.compiling(quiet):
        detector = Detector(
            model,
            device,
            evaluation.CONF,
            iou,
            evaluation.MAX_DET,
            head=head,
            labels=labels,
            imgsz=detector_options.parse_imgsz(imgsz),
            policy=policy,
            platforms=common.platforms_reference(platforms, platform),
        )
    with detector, common.progress("evaluating", len(photos.paths), quiet) as advance:
        result = evaluation.evaluate(detector, photos, table, advance)
        where = detector.device
    if json:
        common.say_json(result.to_dict())
        return
    rows = [(name, f"{each['AP50']:.3f}", f"{each['AP']:.3f}") for name, each in result.per_class.items()]
    rows.append(("mean", f"{result.map50:.3f}", f"{result.map:.3f}"))
    common.say(common.table(("class", "AP50", "AP"), rows, right=("AP50", "AP")))
    common.note(f"{where}: {result.images} photos, {result.ms_per_image:.1f} ms each", quiet)
