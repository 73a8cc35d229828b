"""Program binaries that a platforms file names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clnn import InferenceSession
from clnn.errors import BuildError, ClnnError, UsageError
from clnn.kernels import source, stages
from clnn.runtime import programs, selection
from clnn.runtime.loader import opencl
from tests.support import node_model

X = np.random.default_rng(0).standard_normal((1, 16, 12, 12), np.float32)
W = np.random.default_rng(1).standard_normal((16, 16, 3, 3), np.float32)


@pytest.fixture
def driver(clnn_device: str) -> str:
    if not clnn_device.startswith(("pocl", "intel")):
        pytest.skip("a binary is taken of drivers that give one after a build")
    return clnn_device


def binary(driver: str, text: str, transport: str = "BUFFER") -> bytes:
    """What the driver makes of a source."""
    (opened,) = selection.select(driver)
    params = stages.KERNELS["read"].launch((), (1,), TRANSPORT=transport)
    language = ("-cl-std=CL2.0",) if transport == "PIPE" else ()
    program = opencl()._Program(opened.context, text)
    program.build(" ".join((*params.options, *language)).encode(), [opened.device])
    return programs._binary(program)


def session(folder: Path, driver: str, more: str = "") -> InferenceSession:
    (folder / "boards").mkdir(exist_ok=True)
    file = folder / "boards" / "mine.yaml"
    entry = f"{{id: fpga0, select: '{driver}', style: fpga, binary: ../stages.bin{more}}}"
    file.write_text(f"version: 1\nplatforms:\n  board:\n    devices:\n      - {entry}\n")
    return InferenceSession(node_model("Conv", [X, W], constants=[1]), platforms=f"{file}#board")


def test_a_binary_runs(tmp_path, driver, monkeypatch):
    (tmp_path / "stages.bin").write_bytes(binary(driver, source.read(stages.SOURCE)))
    built = []
    compile_text = programs.ProgramCache.build_text
    monkeypatch.setattr(
        programs.ProgramCache, "build_text",
        lambda cache, opened, name, *rest: built.append(name) or compile_text(cache, opened, name, *rest),
    )  # fmt: skip
    with session(tmp_path, driver) as own, InferenceSession(
        node_model("Conv", [X, W], constants=[1]), devices=driver
    ) as ordinary:
        (got,), (want,) = (each.run(None, {"x0": X}) for each in (own, ordinary))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    assert stages.SOURCE not in built


@pytest.mark.parametrize("content", [b"", b"no program", bytes(4096)])
def test_a_corrupt_binary_is_refused(tmp_path, driver, content):
    (tmp_path / "stages.bin").write_bytes(content)
    with pytest.raises(ClnnError, match=r"binary '.*stages\.bin' cannot be used on fpga0"):
        session(tmp_path, driver)


def test_a_binary_of_other_kernels_is_refused(tmp_path, driver):
    (tmp_path / "stages.bin").write_bytes(binary(driver, source.read("pool.cl")))
    with pytest.raises(BuildError, match="it has no kernel 'gemm'; build it from stages.cl"):
        session(tmp_path, driver)


def test_a_binary_for_another_transport_is_refused(tmp_path):
    try:
        (tmp_path / "stages.bin").write_bytes(binary("intel", source.read(stages.SOURCE), "PIPE"))
    except ClnnError as error:
        pytest.skip(f"needs intel: {error}")
    with pytest.raises(BuildError, match="transport 'buffer' gives 19; build it for that transport"):
        session(tmp_path, "intel")


def test_a_missing_binary_is_told(tmp_path, driver):
    with pytest.raises(UsageError, match=r"binary '.*stages\.bin' of fpga0 cannot be read: No such file"):
        session(tmp_path, driver)


def test_a_file_in_the_working_folder_names_no_binary(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = "{id: fpga0, select: pocl, style: fpga, binary: stages.bin}"
    Path("platforms.yaml").write_text(f"version: 1\nplatforms:\n  board:\n    devices:\n      - {entry}\n")
    with pytest.raises(UsageError, match="only from a platforms file that is named"):
        selection.select(platforms="#board")


def test_only_stages_come_as_a_binary(tmp_path, driver):
    with pytest.raises(UsageError, match="a device in a process of its own builds its programs"):
        session(tmp_path, driver, ", isolate: true")
