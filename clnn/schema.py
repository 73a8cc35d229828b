"""YAML files with a schema: read, checked, and every mistake named with its line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from clnn.errors import UsageError

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """Base of mappings that have no keys but those declared, and values of just those types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def parse(text: str, origin: str, schema: type[Model], context: Any = None) -> Model:
    """Read YAML text into a pydantic model; ``context`` is handed to its validators.

    Raises:
        UsageError: it is no YAML, a key is there twice, unknown or missing, or a value is wrong; the message starts
            with ``origin`` and the line.
    """
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except RecursionError as error:
        raise UsageError(f"{origin}: it is nested too deeply") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UsageError(f"{origin}{line}: this is not YAML: {getattr(error, 'problem', None) or error}") from error
    twice = _repeated(tree, set())
    if twice is not None:
        raise UsageError(f"{origin}:{twice.start_mark.line + 1}: the key '{twice.value}' is there twice")
    try:
        return schema.model_validate(content, context=context)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        # The second is what pydantic calls it in a dataclass.
        unknown = first["type"] in ("extra_forbidden", "unexpected_keyword_argument")
        reason = "unknown key" if unknown else re.sub("^Value error, ", "", first["msg"])
        raise UsageError(f"{origin}:{_line(tree, first['loc'])}: {where or 'file'}: {reason}") from error


def _line(node: Any, path: Sequence[int | str]) -> int:
    """The line of the deepest node on ``path`` that the file has; a key's own line for an entry of a mapping."""
    line = node.start_mark.line + 1 if node is not None else 1
    for step in path:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == str(step)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _repeated(node: Any, seen: set[int]) -> Any | None:
    """The first key that a mapping has twice; YAML parsers keep the last one without a word."""
    if not isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) or id(node) in seen:
        return None
    seen.add(id(node))
    children = list(node.value) if isinstance(node, yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for key, value in node.value:
            if str(key.value) in names:
                return key
            names.add(str(key.value))
            children.append(value)
    return next((found for child in children if (found := _repeated(child, seen)) is not None), None)
