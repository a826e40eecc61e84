"""Evaluate the conditions that kfp compiles for If, Elif and Else: comparisons of parameters, never `eval`."""

from __future__ import annotations

import ast
import operator
import re
from typing import TYPE_CHECKING, Any

from claimed_med.engines import syntax
from claimed_med.errors import ContractError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_CAST: dict[str, Callable[[Any], Any]] = {"int": lambda value: int(float(value)), "double": float, "string": str}
_QUOTED = re.compile(r"('(?:[^'\\]|\\.)*')")


def check(condition: str) -> bool:
    """Whether a condition is one that this engine evaluates."""
    try:
        _walk(_parse(condition), None)
    except (ValueError, SyntaxError):
        return False
    return True


def evaluate(condition: str, values: Mapping[str, Any]) -> bool:
    """Evaluate a condition.

    Args:
        condition: As compiled, `inputs.parameter_values['pipelinechannel--x'] == 'blessed'`.
        values: Input parameters of the task by name.

    Raises:
        ContractError: A parameter that the condition names is not there.
        InputError: A value that should be a number is none.
    """
    try:
        return bool(_walk(_parse(condition), values))
    except KeyError as error:
        raise ContractError("pipeline", "a condition names a parameter without a value", got=str(error)) from None
    except (ValueError, TypeError):  # the latter of a text that is compared with a number, or negated
        raise InputError("pipeline", "a value of the condition is no number", do="see the step that wrote it") from None


def _parse(condition: str) -> ast.expr:
    parts = _QUOTED.split(condition)
    for index in range(0, len(parts), 2):
        text = parts[index].replace("&&", " and ").replace("||", " or ")
        text = re.sub(r"!(?!=)", " not ", text)
        parts[index] = re.sub(r"\btrue\b", "True", re.sub(r"\bfalse\b", "False", text))
    return syntax.expression("".join(parts).strip())


def _walk(node: ast.expr, values: Mapping[str, Any] | None) -> Any:  # noqa: PLR0911 - one return per kind of node
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.BoolOp):
        found = [_walk(one, values) for one in node.values]
        return all(found) if isinstance(node.op, ast.And) else any(found)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not _walk(node.operand, values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return 0 if values is None else -_walk(node.operand, values)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
        left, right = _walk(node.left, values), _walk(node.comparators[0], values)
        return True if values is None else _COMPARE[type(node.ops[0])](*_alike(left, right))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CAST and len(node.args) == 1:
        value = _walk(node.args[0], values)
        return 0 if values is None else _CAST[node.func.id](value)
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "inputs.parameter_values":
        if not isinstance(node.slice, ast.Constant):
            raise ValueError(ast.unparse(node))
        return "" if values is None else values[str(node.slice.value)]
    raise ValueError(ast.unparse(node))


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Compare booleans with the texts 'true' and 'True', as the cluster's backend does."""
    if isinstance(left, bool) and isinstance(right, str):
        return str(left).lower(), right.lower()
    if isinstance(right, bool) and isinstance(left, str):
        return left.lower(), str(right).lower()
    return left, right
