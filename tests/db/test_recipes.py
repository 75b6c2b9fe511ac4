"""Every SQL recipe of the documents finds something, on SQLite and on PostgreSQL."""

import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from db.store import Store

DOCS = Path(__file__).parents[2] / "docs"
RECIPES = [
    pytest.param(script, id=f"{page.stem}-{number}")
    for page in sorted(DOCS.rglob("*.md"))
    for number, script in enumerate(re.findall(r"```sql\n(.*?)```", page.read_text("utf-8"), re.DOTALL))
]


def test_a_recipe_is_found_in_each_view() -> None:
    text = " ".join(str(recipe.values[0]) for recipe in RECIPES)
    for view in ("labeled_structures", "generation_summary", "label_failures_summary"):
        assert f"FROM {view}" in text


@pytest.mark.parametrize("script", RECIPES)
def test_a_recipe_finds_something(script: str, whole: Store) -> None:
    with whole.database.read() as connection:
        found = connection.execute(sa.text(script)).all()
    assert found
    assert all(any(value is not None for value in row) for row in found)
