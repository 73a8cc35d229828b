"""The pipeline of passes."""

from __future__ import annotations

from clnn.errors import UsageError
from clnn.graph import Graph
from clnn.passes.affine import fold_batchnorm
from clnn.passes.dead import remove_dead_code
from clnn.passes.epilogue import fuse_epilogue
from clnn.passes.focus import merge_space_to_depth
from clnn.passes.gates import recognise_gates
from clnn.passes.half import promote_float16
from clnn.passes.identities import remove_identities
from clnn.passes.infer import infer_and_fold
from clnn.passes.pads import fold_pads

PASSES = (
    infer_and_fold,
    remove_dead_code,
    promote_float16,
    remove_identities,
    fold_pads,
    merge_space_to_depth,
    recognise_gates,
    fold_batchnorm,
    fuse_epilogue,
    remove_dead_code,
)
"""Each takes a graph and returns one; after the first, the types of all tensors are known and stay so."""

NAMES = tuple(
    f"{step.__name__}_{count}" if (count := PASSES[: index + 1].count(step)) > 1 else step.__name__
    for index, step in enumerate(PASSES)
)
"""The passes' names; the second use of one ends in _2."""


def run(graph: Graph, upto: str | None = None) -> Graph:
    """Apply the passes in their order, all or those up to and including the one called ``upto``.

    Raises:
        ModelFormatError: an operator's inputs or attributes do not fit it.
        UnsupportedError: an operator is used in a way that clnn does not run.
        UsageError: there is no such pass.
    """
    if upto is not None and upto not in NAMES:
        raise UsageError(f"pass '{upto}' does not exist; choose one of {', '.join(NAMES)}")
    for name, step in zip(NAMES, PASSES, strict=True):
        graph = step(graph)
        if name == upto:
            break
    return graph
