"""The examples of docs/embedding.md, run as they are printed there."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import clnn

DOCS = Path(__file__).resolve().parents[2] / "docs"
DOG = Path(str(resources.files("clnn.models"))) / "samples" / "dog.jpg"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def detector():
    with clnn.Detector() as detector:
        yield detector


def expected(detector: clnn.Detector) -> list[dict]:
    return [each.to_dict() for each in detector(DOG)]


@pytest.mark.parametrize("path", sorted((DOCS / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_the_page_shows_the_files(path: Path):
    assert f"```python\n{path.read_text('utf-8')}```" in (DOCS / "embedding.md").read_text("utf-8")


def test_folder_watcher(detector: clnn.Detector, tmp_path: Path):
    log, stop = io.StringIO(), threading.Event()
    watch = example("folder_watcher").watch
    thread = threading.Thread(target=watch, args=(tmp_path, detector, log, stop, 0.05))
    thread.start()
    try:
        (tmp_path / "broken.jpg").write_text("no photo")
        shutil.copy(DOG, tmp_path / "dog.jpg")
        deadline = time.monotonic() + 60
        while log.getvalue().count("\n") < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        stop.set()
        thread.join()
    entries = {entry["image"]: entry for entry in map(json.loads, log.getvalue().splitlines())}
    assert entries["dog.jpg"]["detections"] == expected(detector)
    assert "not a picture" in entries["broken.jpg"]["error"]


def test_http_service(detector: clnn.Detector):
    def post(body: bytes) -> tuple[int, dict]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/", body, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    module = example("http_service")
    module.Handler.log_message = lambda *_: None
    with module.serve(detector, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with ThreadPoolExecutor(4) as clients:
                answers = list(clients.map(post, [DOG.read_bytes()] * 8))
            refused, _ = post(b"no photo")
        finally:
            server.shutdown()
            thread.join()
    assert answers == [(200, {"detections": expected(detector)})] * 8
    assert refused == 400


def test_numpy_pipeline(detector: clnn.Detector):
    pipeline = example("numpy_pipeline")
    photo = np.asarray(Image.open(DOG))
    frames = [photo, photo[:, ::-1], np.zeros_like(photo)]
    with clnn.InferenceSession(str(pipeline.MODEL)) as session:
        upright, mirrored, black = pipeline.detect(session, frames, conf=0.3)
    labels = detector.network.labels
    assert {"dog", "bicycle"} <= {labels[int(each)] for each in upright[:, 5]}
    assert {"dog", "bicycle"} <= {labels[int(each)] for each in mirrored[:, 5]}
    assert black.shape == (0, 6)
    assert (upright[:, 2] <= photo.shape[1] + 1).all()
