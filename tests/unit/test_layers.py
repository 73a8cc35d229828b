"""The order of layers: each imports only from those before it, or from its own folder."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "clnn"

# Layers that share a place do not import each other.
ORDER: tuple[tuple[str, ...], ...] = (
    ("errors", "env", "version", "opencl", "models"),
    ("schema",),
    ("graph",),
    ("devices",),
    ("kernels",),
    ("ops", "host"),
    ("frontend", "passes"),
    ("schedule",),
    ("plan",),
    ("runtime",),
    ("feeds", "options"),
    ("stages",),
    ("streaming", "planning"),
    ("session",),
    ("vision",),
    ("tools",),
    ("cli", "testing"),
    ("__main__",),
)
RANK = {layer: rank for rank, layers in enumerate(ORDER) for layer in layers}


ONNX_HOMES = ("frontend", "host")
FILES = sorted(PACKAGE.rglob("*.py"))


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Dotted names of all modules that a file imports, at the top or in a function, and their lines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {id(inner) for node in ast.walk(tree) if is_type_checking(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_every_file_has_a_layer():
    assert {layer_of(path) for path in FILES} - {"__init__"} <= set(RANK)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_to_the_left(path):
    own = layer_of(path)
    if own == "__init__":
        return  # the package itself, which hands out names of every layer
    wrong = []
    for name, line in imports(path):
        parts = name.split(".")
        if parts[0] != "clnn" or len(parts) == 1 or parts[1] not in RANK:
            continue
        if parts[1] != own and RANK[parts[1]] >= RANK[own]:
            wrong.append(f"{path.name}:{line} imports {name}")
    assert not wrong, f"{own} may import only from layers to its left"


@pytest.mark.parametrize(("library", "homes"), [("onnx", ONNX_HOMES), ("pyopencl", ("runtime",))])
def test_library_is_imported_in_its_homes_only(library, homes):
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in FILES
        for name, line in imports(path)
        if name.split(".")[0] == library and layer_of(path) not in homes
    ]
    assert not wrong


def test_what_the_package_offers_is_there():
    import clnn

    assert [name for name in clnn.__all__ if not hasattr(clnn, name)] == []
