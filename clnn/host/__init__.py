"""One operator evaluated with NumPy, through onnx's reference operators."""

from clnn.host.evaluate import HostOperator, evaluate, optional_outputs
from clnn.host.infer import infer_types

__all__ = ["HostOperator", "evaluate", "infer_types", "optional_outputs"]
