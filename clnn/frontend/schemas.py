"""Checks of a node against the definition of its operator, so that nothing after has to doubt its form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import onnx
from onnx import AttributeProto, defs

from clnn.errors import ModelFormatError, UnsupportedError
from clnn.ops import find


@dataclass(frozen=True)
class Schema:
    """What the definition of an operator demands of a node.

    ``inputs`` and ``outputs`` are the least and the largest numbers of them, ``needed`` the positions of inputs that
    must not be left out. ``attributes`` gives the kind of each, ``required`` those that must be there.
    """

    inputs: tuple[int, int]
    outputs: tuple[int, int]
    needed: tuple[int, ...]
    attributes: Mapping[str, int]
    required: tuple[str, ...]


def domain_of(domain: str) -> str:
    """ONNX's own domain has two spellings; ours is the empty one."""
    return "" if domain == "ai.onnx" else domain


def known_schema(proto: onnx.NodeProto, where: str, versions: Mapping[str, int]) -> Schema | None:
    """The definition of a node's operator; ``None`` for an operator that clnn knows and onnx does not.

    Raises:
        ModelFormatError: the operator's domain is not declared.
        UnsupportedError: nobody knows the operator.
    """
    domain = domain_of(proto.domain)
    if domain not in versions:
        raise ModelFormatError(
            f"{where}: the model imports no opset of the domain '{domain or 'ai.onnx'}'; it is not valid"
        )
    schema = _read(proto.op_type, versions[domain], domain)
    # The domain clnn is that of nodes which passes make; they are not for models.
    if schema is None and (domain in ("", "clnn") or find(f"{domain}.{proto.op_type}") is None):
        raise UnsupportedError(
            f"{where}: operator {proto.op_type} of the domain '{domain or 'ai.onnx'}', opset {versions[domain]}, is "
            "unknown; export the model with standard operators"
        )
    return schema


@cache
def _read(op_type: str, version: int, domain: str) -> Schema | None:
    try:
        schema = defs.get_schema(op_type, version, domain)
    except (defs.SchemaError, TypeError):  # the latter for a version that is no 32-bit number
        return None
    single = defs.OpSchema.FormalParameterOption.Single
    return Schema(
        (schema.min_input, schema.max_input),
        (schema.min_output, schema.max_output),
        tuple(index for index, given in enumerate(schema.inputs) if given.option == single),
        {name: int(attribute.type.value) for name, attribute in schema.attributes.items()},
        tuple(name for name, attribute in schema.attributes.items() if attribute.required),
    )


def check_against_schema(proto: onnx.NodeProto, where: str, schema: Schema) -> None:
    """Check the numbers of inputs and outputs, and the names and kinds of attributes.

    Raises:
        ModelFormatError: the node is not as its operator is defined.
    """
    counts = (("inputs", proto.input, schema.inputs), ("outputs", proto.output, schema.outputs))
    for what, names, (least, most) in counts:
        if not least <= len(names) <= most:
            raise _invalid(where, f"it has {len(names)} {what}, its definition has {least} to {most}")
    for index in schema.needed:
        if index < len(proto.input) and not proto.input[index]:
            raise _invalid(where, f"input {index} is left out")
    given = {attribute.name: attribute.type for attribute in proto.attribute}
    for name in schema.required:
        if name not in given:
            raise _invalid(where, f"attribute '{name}' is missing")
    for name, kind in given.items():
        if name not in schema.attributes:
            raise _invalid(where, f"its definition has no attribute '{name}'")
        if kind != schema.attributes[name]:
            wanted = AttributeProto.AttributeType.Name(schema.attributes[name])
            raise _invalid(where, f"attribute '{name}' is {AttributeProto.AttributeType.Name(kind)}, not {wanted}")


def _invalid(where: str, problem: str) -> ModelFormatError:
    return ModelFormatError(f"{where}: {problem}; the model is not valid ONNX, export it again")
