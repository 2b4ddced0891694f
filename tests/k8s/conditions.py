"""Argo's conditions, as far as our templates use them: `&&`, `||`, `!`, comparisons, `in`, len, isNaN, asFloat.

A condition that says more is refused, so that none is judged by half of what it says.
"""

import ast
import math
import operator

OPERATORS = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda left, right: left in right,
}
FUNCTIONS = {"len": len, "isNaN": math.isnan, "asFloat": float, "isInf": math.isinf}


def passes(condition, result):
    """Whether `result`, a list of numbers or a single value, meets the condition. What cannot be evaluated does not."""
    python = condition.replace("&&", " and ").replace("||", " or ").replace("!isNaN", " not isNaN").replace("!isInf", " not isInf")
    tree = ast.parse(python.strip(), mode="eval")
    try:
        return bool(value(tree.body, result))
    except (IndexError, TypeError):
        return False


def value(node, result):
    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            return all(value(part, result) for part in values)
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(value(part, result) for part in values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not value(operand, result)
        case ast.Compare(left=left, ops=[comparison], comparators=[right]):
            return OPERATORS[type(comparison)](value(left, result), value(right, result))
        case ast.Call(func=ast.Name(id=name), args=[argument]) if name in FUNCTIONS:
            return FUNCTIONS[name](value(argument, result))
        case ast.Subscript(value=inner, slice=index):
            return value(inner, result)[value(index, result)]
        case ast.List(elts=elements):
            return [value(element, result) for element in elements]
        case ast.Name(id="result"):
            return result
        case ast.Constant(value=constant):
            return constant
    raise ValueError(f"this condition says something that is not understood: {ast.dump(node)}")
