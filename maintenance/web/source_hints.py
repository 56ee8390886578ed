"""What a line of application code does with a query's answer, as far as the line itself shows it.

Only the line that sent the query is read, from the site's own source, and only in order to tell a
``count()`` that is asked for whether there is anything.
"""

import ast
import linecache
from functools import lru_cache

from maintenance.web.call_sites import CallSite

#: ``count()`` where ``exists()`` would do.
COUNT_FOR_EXISTENCE = "count for existence"

_COUNTS = "SELECT COUNT("


@lru_cache(maxsize=4096)
def _counts_for_existence(site: CallSite) -> bool:
    file, line = site
    text = linecache.getline(file, line).strip()
    for candidate in (text, f"{text}\n pass", f"if True:\n pass\n{text}\n pass"):
        try:
            tree = ast.parse(candidate)
        except (SyntaxError, ValueError):
            continue
        return any(_is_test(node) for node in ast.walk(tree))
    return False


def _is_count(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "count"
        and not node.args
    )


def _is_test(node: ast.AST) -> bool:
    """Tell whether a node asks of a count no more than whether it is zero."""
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        return _is_count(node.test)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not) and _is_count(node.operand)
    if isinstance(node, ast.Call):
        is_bool = isinstance(node.func, ast.Name) and node.func.id == "bool"
        return is_bool and len(node.args) == 1 and _is_count(node.args[0])
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and _is_count(node.left):
        (operator,), (right,) = node.ops, node.comparators
        value = right.value if isinstance(right, ast.Constant) else None
        against_zero = value == 0 and isinstance(operator, ast.Gt | ast.Eq | ast.NotEq)
        return against_zero or (value == 1 and isinstance(operator, ast.GtE | ast.Lt))
    return False


def hint_of(shape: str, site: CallSite) -> str:
    """Return what the line shows of the use of a query's answer, empty where it shows nothing."""
    if shape.startswith(_COUNTS) and site[1] and _counts_for_existence(site):
        return COUNT_FOR_EXISTENCE
    return ""
