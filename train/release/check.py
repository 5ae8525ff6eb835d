"""Is a checkpoint fit to be published: whole, and with a report and a card that speak of these very weights?"""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from cilf.checkpoint import CARD, GRAPH, REPORT, CheckpointConfig, is_report_of, load, read_report
from cilf.errors import CilfError
from train.release.model_card import card


class ReleaseError(CilfError):
    """A checkpoint is not fit to be published."""


def release_check(folder: Path) -> None:
    """Load the checkpoint in `folder`, and compare its report and its card with the weights.

    Raises:
        WeightsError: it does not load.
        ReleaseError: report, card or graph are missing, or of other weights.
    """
    if not folder.is_dir():  # which `load` would take for the name of a repository
        raise ReleaseError(f"'{folder}' is no folder; give that of a checkpoint")
    checkpoint, report = load(folder), read_report(folder)
    if report is None:
        raise ReleaseError(
            f"'{folder}' has no {REPORT}; write it with `python -m train evaluate --weights {folder} "
            f"--report {folder / REPORT}` and the data of the test"
        )
    if not checkpoint.card:
        raise ReleaseError(f"'{folder}' has no {CARD}; write it with `python -m train card {folder}`")
    if checkpoint.config.graph and checkpoint.graph is None:
        raise ReleaseError(
            f"'{folder}' has no {GRAPH}, which its configuration names; write it with `python -m train export {folder}`"
        )
    measured, sha256 = str(report.get("weights_sha256", "")), checkpoint.config.sha256
    if measured != sha256:
        raise ReleaseError(
            f"'{folder / REPORT}' measures other weights ({measured[:8] or 'it does not say which'}) than those beside "
            f"it ({sha256[:8]}); run `python -m train evaluate` on these"
        )
    if not is_report_of(report, folder, checkpoint.config):
        raise ReleaseError(
            f"'{folder / REPORT}' measures another graph than the one beside it; run `python -m train evaluate` again"
        )
    if _figures(checkpoint.card) != _figures(_rewritten(checkpoint.config, report, folder)):
        raise ReleaseError(
            f"'{folder / CARD}' gives other figures than {REPORT}; write it again with `python -m train card {folder}`"
        )


def _rewritten(config: CheckpointConfig, report: dict[str, Any], folder: Path) -> str:
    try:
        return card(config, report)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReleaseError(
            f"'{folder / REPORT}' is no report of `python -m train evaluate`; run that on these weights"
        ) from error


def _figures(text: str) -> set[str]:
    """What a card's `model-index` says, one JSON text a figure; empty where it says nothing that the Hub could read."""
    try:
        results = getattr(ModelCard(text).data, "eval_results", None)  # which those of a model alone have
    except Exception:  # the card's YAML may be broken in as many ways as YAML can be
        return set()
    return {
        json.dumps([each.dataset_type, each.dataset_split, each.metric_type, each.metric_value], default=str)
        for each in results or ()
    }
