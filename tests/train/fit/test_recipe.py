"""Recipes are read completely, and one can stand on another."""

from dataclasses import replace
from pathlib import Path

import pytest

from cilf.errors import UsageError
from train.__main__ import parser
from train.fit.recipe import RECIPES, read_cilf_recipe, read_recipe, with_texts_of
from train.studies.ablation import towers_recipe


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_every_recipe_can_be_read(name: str) -> None:
    recipe = read_recipe(name)
    shares = [share for share, _ in recipe.fit.sizes]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert recipe.fit.sizes[-1][1] == recipe.model.image_size


@pytest.mark.parametrize(
    "path",
    sorted([*RECIPES.glob("studies/*.toml"), *RECIPES.glob("systems/*.toml")]),
    ids=lambda path: path.stem,
)
def test_every_recipe_of_a_study_can_be_read(path: Path) -> None:
    if path.stem != "one-stage":  # what others stand on
        recipe = read_recipe(path)
        assert recipe.fit.sizes[-1][1] <= recipe.model.image_size


def test_a_stage_from_texts_alone_leaves_every_other_weight_as_it_is() -> None:
    recipe = read_cilf_recipe("compact-words-sentences")
    assert recipe.fit.sentence_steps > 0
    assert max(recipe.fit.rates.values()) * recipe.fit.learning_rate < 1e-11  # of weights of about 1
    assert recipe.fit.frozen_statistics


def test_where_no_text_moves_the_start_s_words_stay() -> None:
    longer = read_cilf_recipe("compact-words-longer")
    frozen = {"towers.clip": 0.0, "towers.clip.visual": 1.0}
    recipe = replace(longer, fit=replace(longer.fit, rates=frozen))
    clip = recipe.model.clip
    fewer = replace(clip, token_ids=(clip.token_ids or ())[:-26], words=clip.words[:-20])
    start = replace(recipe.model, clip=replace(fewer, style=not clip.style, grid_stage=1))
    assert with_texts_of(start, recipe) == replace(recipe, model=replace(recipe.model, clip=fewer))
    assert with_texts_of(None, recipe) == recipe
    for learning in ("compact-words-longer", "compact-words-sentences", "mtmsa"):
        other = read_recipe(learning)
        assert with_texts_of(start, other) == other


def test_the_longest_prefix_names_a_rate() -> None:
    rates = {"towers.clip": 0.0, "towers.clip.visual": 0.5}
    fit = replace(read_recipe("compact").fit, rates=rates)
    names = ("towers.clip.transformer.weight", "towers.clip.visual.trunk.weight", "head.weight")
    assert [fit.rate_of(name) for name in names] == [0.0, 0.5, 1.0]


def test_a_recipe_on_another_changes_only_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "quick.toml").write_text('base = "compact"\n[fit]\nepochs = 1\n[fit.rates]\nhead = 0.5\n')
    full, quick = read_recipe("compact"), read_recipe(tmp_path / "quick.toml")
    rates = full.fit.rates | {"head": 0.5}
    assert quick == replace(full, fit=replace(full.fit, epochs=1, rates=rates))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('base = "compact"\n[fit]\nepoch = 1\n', "FitConfig: unexpected keyword argument 'epoch'"),
        ('base = "compact"\n[fit]\nepochs = "many"\n', "epochs: Input should be a valid number"),
        ('base = "compact"\n[loss]\nl2 = 1.0\n', "unexpected keyword argument 'l2'"),
        ('base = "mtmsa"\n[model]\nwidth = 0\n', "width: Input should be greater than or equal to 1"),
        ('base = "mtmsa"\n[model]\nkind = "nonsense"\n', "'nonsense', or none that is known"),
        ('base = "nonsense"\n', "there is no recipe 'nonsense'"),
        ("[fit]\n", "has no 'sizes'"),
        ("[fit\n", "is no TOML"),
    ],
)
def test_a_recipe_that_cannot_be_read_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(UsageError) as error:
        read_recipe(tmp_path / "own.toml")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("command", [["ablate"], ["reproduce"], ["cross-dataset"], ["captions"]])
def test_the_studies_recipes_need_no_teacher(command: list[str]) -> None:
    """What a study trains by itself; `ablate` trains towers that learn from captions alone."""
    required = {
        "reproduce": ["--protocol", "x", "--data", "a=b", "--output", "o"],
        "cross-dataset": ["--train", "a", "--measure", "b", "--split", "s", "--output", "o"],
    }
    options = parser().parse_args([*command, *required.get(command[0], ["--split", "s"])])
    recipe = read_cilf_recipe(options.recipe)
    trained = towers_recipe(recipe, 1) if command == ["ablate"] else recipe
    assert not trained.distils


def test_towers_of_the_ablation_learn_from_captions_alone() -> None:
    loss = towers_recipe(read_cilf_recipe("compact"), 1).loss
    weights = (loss.distribution, loss.l1, loss.score_map, loss.attributes, loss.parts, loss.consistency)
    assert (loss.contrastive, *weights) == (1.0, 0, 0, 0, 0, 0, 0)
