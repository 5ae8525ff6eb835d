"""Whether stored weights are those of the network that is to take them."""

from collections.abc import Mapping

from torch import Tensor

from cilf.errors import UsageError


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
