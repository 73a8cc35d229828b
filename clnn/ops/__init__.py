"""One place per operator: its attributes, shape inference, cost and lowering to kernel launches.

Importing this package registers every operator: each module in it is imported, so that a new operator is a new file.
"""

from importlib import import_module
from pkgutil import iter_modules

from clnn.ops.base import Cost, InferContext, Layouts, LowerContext, Lowered, Operator, find, operator

__all__ = ["Cost", "InferContext", "Layouts", "LowerContext", "Lowered", "Operator", "find", "operator"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
