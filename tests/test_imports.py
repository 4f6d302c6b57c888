"""Imports run one way: gp_bo → inference → pyro_models, and in no circle between modules.

Imports inside functions count as well: one that is put off there to break a circle is found. What a
package's ``__init__`` gathers is followed to the module that it comes from, as ``from package
import name`` asks for no more than that.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ("pyro_models", "inference", "gp_bo")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ORDER
    for path in sorted((ROOT / package).rglob("*.py"))
}


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Everything that may run: all but what stands under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from statements(child)


@cache
def imported(module: str) -> frozenset[tuple[str, str]]:
    """(module, name) of every import of ours; the name is empty for the module itself."""
    found = set()
    for statement in statements(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            found |= {(alias.name, "") for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            assert not statement.level, f"{module} imports relatively"
            found |= {(str(statement.module), alias.name) for alias in statement.names}
    return frozenset((where, name) for where, name in found if where.split(".")[0] in ORDER)


def source(where: str, name: str) -> str:
    """The module that a name is from, through the packages that gather it."""
    if f"{where}.{name}" in FILES:
        return f"{where}.{name}"
    if FILES.get(where, Path()).name == "__init__.py":
        for inner, own in imported(where):
            if own == name and (inner, own) != (where, name):
                return source(inner, own)
    return where


def needs(module: str) -> set[str]:
    return {source(where, name) for where, name in imported(module)} - {module}


def test_every_module_is_looked_at() -> None:
    assert set(ORDER) <= set(FILES)
    assert "gp_bo.model" in needs("gp_bo.fitted")


@pytest.mark.parametrize("package", ORDER)
def test_imports_run_one_way(package: str) -> None:
    above = ORDER[ORDER.index(package) + 1 :]
    wrong = [
        f"{module} imports {where}"
        for module in FILES
        if module.split(".")[0] == package
        for where, _ in imported(module)
        if where.split(".")[0] in above
    ]
    assert not wrong


def test_no_module_imports_itself_in_a_circle() -> None:
    done: set[str] = set()
    circles: list[str] = []

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            circles.append(" → ".join([*path[path.index(module) :], module]))
        elif module in FILES and module not in done:
            for each in sorted(needs(module)):
                visit(each, [*path, module])
            done.add(module)

    for module in FILES:
        visit(module, [])
    assert not circles, "\n".join(circles)


def test_the_examination_is_used_by_the_table_of_commands_alone() -> None:
    users = {
        module
        for module in FILES
        if not module.startswith("gp_bo.examination")
        for each in needs(module)
        if each.startswith("gp_bo.examination")
    }
    assert users == {"gp_bo.cli"}
