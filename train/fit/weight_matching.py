"""Whether stored weights are those of the network that is to take them, and what may still differ."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cilf.errors import UsageError
from cilf.model.clip import ClipConfig

TOKENS = "towers.clip.token_embedding.weight"
POSITIONS = "towers.clip.positional_embedding"
# What networks of earlier checkpoints have not: a bound of what the fusion adds, and a photo's style.
LATER = ("fusion.gain", "towers.style.")
# The text tower and the prompts that go through it.
TEXT_TOWER = (
    TOKENS,
    POSITIONS,
    "towers.clip.transformer.",
    "towers.clip.ln_final.",
    "towers.clip.text_projection",
    "prompts.",
    "prompting.",
)


def carried_over(
    weights: Mapping[str, Tensor], network: Mapping[str, Tensor], old: ClipConfig, new: ClipConfig
) -> dict[str, Tensor]:
    """Fit weights to a network that knows other words, more of them at once, or has parts that came later.

    Args:
        weights: of the network with the text tower `old`.
        network: the weights that a network with the text tower `new` begins with; those of words, places and later
            parts that `weights` lack stay as they are.
    """
    merged = dict(weights)
    if old.token_ids != new.token_ids and TOKENS in network:
        tokens = network[TOKENS].clone()
        rows = {
            token: row
            for row, token in enumerate(
                old.token_ids or range(len(weights[TOKENS])), start=bool(old.token_ids)
            )
        }
        for row, token in enumerate(new.token_ids or range(len(tokens)), start=bool(new.token_ids)):
            if token in rows:
                tokens[row] = weights[TOKENS][rows[token]]
        merged[TOKENS] = tokens
    if POSITIONS in network and weights[POSITIONS].shape != network[POSITIONS].shape:
        places = min(len(weights[POSITIONS]), len(network[POSITIONS]))
        merged[POSITIONS] = torch.cat([weights[POSITIONS][:places], network[POSITIONS][places:]])
    later = {name: value for name, value in network.items() if name.startswith(LATER)}
    return later | merged


def take_trunk(trunk: nn.Module, start: nn.Module) -> None:
    """Copy the layers of the trunk `start` into `trunk`, which may have more of them after its last one.

    Raises UsageError where they are of different networks.
    """
    own, given = trunk.state_dict(), start.state_dict()
    shared = {name: given[name] for name in own if name in given}
    advice = "give a checkpoint with the recipe's trunk as --start"
    check_weights(given, {name: own[name] for name in shared}, "The trunk to start from", advice)
    trunk.load_state_dict(own | shared)


def check_weights(
    weights: Mapping[str, Tensor], network: Mapping[str, Tensor], whose: str, advice: str
) -> None:
    """Compare two state dictionaries by names and shapes.

    Raises UsageError: `whose` ("The run in FOLDER") says where `weights` come from, `advice` what to do.
    """
    wrong = [
        name
        for name in {**network, **weights}
        if name not in weights or name not in network or weights[name].shape != network[name].shape
    ]
    if wrong:
        raise UsageError(
            f"{whose} is of another network than the recipe's: {len(wrong)} of its weights are missing, unknown or of "
            f"another size, the first is {wrong[0]}; {advice}."
        )
