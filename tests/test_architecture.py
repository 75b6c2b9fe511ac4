"""The arrows between the packages, held by reading the code: flows -> db -> al_engine, siblings apart."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("al_engine", "db", "flows")
MODULES = sorted(
    path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if "migrations/versions" not in str(path)
)
MAX_LINES = 300
SIBLINGS = ("model", "training", "labeling", "exploration", "selection")
"""Rooms of al_engine that do not know each other; training trains the model."""
MAY_KNOW = {("training", "model")}
COMPOSERS = ("stages", "report")
"""Rooms of al_engine that put the others together; none of the others knows them."""
BELOW = {
    "al_engine.frames",
    "al_engine.records",
    "al_engine.lifecycle",
    "al_engine.units",
    "al_engine.errors",
}
"""What db may know of al_engine."""


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it; not what is only for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def room_of(module: str) -> str:
    return module.split(".")[1] if module.startswith("al_engine.") else ""


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_one_idea_and_imports_only_what_it_may(path: Path):
    module, imported = name_of(path), set(imports(path))
    roots = {package_of(name) for name in imported}
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
    match package_of(module):
        case "al_engine":
            assert not roots & {"flows", "db", "prefect", "sqlalchemy", "alembic", "cyclopts", "rich"}
            room = room_of(module)
            known = {room_of(name) for name in imported}
            if room in SIBLINGS:
                allowed = {other for one, other in MAY_KNOW if one == room} | {room}
                assert not known & (set(SIBLINGS) - allowed)
            if room not in COMPOSERS:
                assert not known & set(COMPOSERS)
        case "db":
            assert not roots & {"flows", "prefect", "torch", "pydantic", "e3nn"}
            known = {".".join(name.split(".")[:2]) for name in imported if package_of(name) == "al_engine"}
            assert known - {"al_engine"} <= BELOW | {"al_engine.extxyz"}
        case "flows":
            assert not roots & {
                "numpy",
                "torch",
                "ase",
                "e3nn",
                "sqlalchemy",
                "alembic",
                "matplotlib",
                "scipy",
            }


def test_only_flows_know_prefect():
    """Prefect is a window: nothing below it imports it."""
    users = {
        package_of(name_of(path))
        for path in MODULES
        if any(package_of(i) == "prefect" for i in imports(path))
    }
    assert users == {"flows"}


def test_the_word_utils_names_nothing():
    assert not [name_of(path) for path in MODULES if "util" in path.name]
