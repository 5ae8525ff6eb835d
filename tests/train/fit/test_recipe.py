"""Recipes are read completely, and one can stand on another."""

from dataclasses import replace
from pathlib import Path

import pytest

from train.fit.recipe import RECIPES, read_recipe


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_every_recipe_can_be_read(name: str) -> None:
    recipe = read_recipe(name)
    shares = [share for share, _ in recipe.fit.sizes]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert recipe.fit.sizes[-1][1] == recipe.model.image_size


def test_a_recipe_on_another_changes_only_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "quick.toml").write_text('base = "compact"\n[fit]\nepochs = 1\n[fit.rates]\nhead = 0.5\n')
    full, quick = read_recipe("compact"), read_recipe(tmp_path / "quick.toml")
    rates = full.fit.rates | {"head": 0.5}
    assert quick == replace(full, fit=replace(full.fit, epochs=1, rates=rates))
