"""The commands that make a checkpoint public: `card`, `models-table`, `export`, `pin`, `blazeface` and `publish`."""

import argparse
import logging
from pathlib import Path
from typing import Any

COMPACT = Path("checkpoints/compact")


def add(commands: Any) -> None:
    """Add the parsers of these commands."""
    card = commands.add_parser("card", help="write a checkpoint's model card from its report")
    card.add_argument("checkpoint", type=Path, nargs="?", default=COMPACT)
    card.set_defaults(run=_card)

    models = commands.add_parser("models-table", help="write README's table of the bundled checkpoints")
    models.set_defaults(run=_models_table)

    export = commands.add_parser(
        "export", help="store the network as an ONNX graph with its weights, for faster inference on a CPU"
    )
    export.add_argument("checkpoint", type=Path, nargs="?", default=COMPACT)
    export.set_defaults(run=_export)

    pin = commands.add_parser("pin", help="write down which checkpoints are bundled, after they have changed")
    pin.set_defaults(run=_pin)

    blazeface = commands.add_parser("blazeface", help="write the graph of the face detector")
    blazeface.add_argument(
        "model",
        type=Path,
        help="MediaPipe's face_detection_short_range.tflite, as in its wheels below 0.10.30",
    )
    blazeface.set_defaults(run=_blazeface)

    publish = commands.add_parser("publish", help="upload a checkpoint or the page to the Hugging Face Hub")
    what = publish.add_mutually_exclusive_group(required=True)
    what.add_argument("--repo", metavar="USER/NAME", help="a model repository for a checkpoint")
    what.add_argument("--space", metavar="USER/NAME", help="a Space for the page with the bundled checkpoint")
    what.add_argument("--folder", type=Path, help="write the files of a Space there, to push them by hand")
    publish.add_argument("--weights", type=Path, help="folder of the checkpoint; without it the bundled one")
    publish.add_argument("--tag", help="name of this version, for from_pretrained(..., revision=TAG)")
    publish.add_argument(
        "--private", action="store_true", help="make a new repository that others do not see"
    )
    publish.set_defaults(run=_publish)


def _card(options: argparse.Namespace) -> int:
    from train.release.model_card import write

    write(options.checkpoint)
    return _pin_again(options)


def _models_table(options: argparse.Namespace) -> int:
    from train.release.models_table import write

    write()
    return 0


def _export(options: argparse.Namespace) -> int:
    from train.release.onnx_export import export

    for library in ("onnx_ir", "onnxscript"):  # which would log every constant
        logging.getLogger(library).setLevel(logging.WARNING)
    export(options.checkpoint)
    return _pin_again(options)


def _pin_again(options: argparse.Namespace) -> int:
    """Pin the bundled checkpoints where the one that has changed is one of them."""
    from cilf.checkpoint import BUNDLED, bundled

    folder = options.checkpoint.resolve()
    return _pin(options) if folder in [bundled(name).resolve() for name in BUNDLED] else 0


def _pin(_: argparse.Namespace) -> int:
    from train.release.pins import write

    write()
    return 0


def _blazeface(options: argparse.Namespace) -> int:
    from cilf.face.blazeface import GRAPH
    from train.release.blazeface import graph

    GRAPH.write_bytes(graph(options.model.read_bytes()))
    return 0


def _publish(options: argparse.Namespace) -> int:
    from cilf.checkpoint import bundled
    from train.release.publish import publish_checkpoint, publish_page
    from train.release.space import PublishError, stage

    if not options.repo and (options.weights or options.tag or options.private):
        raise PublishError("--weights, --tag and --private belong to --repo; leave them out without it")
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
        stage(options.folder)
        return 0
    if options.space:
        print(publish_page(options.space))
        return 0
    folder = options.weights or bundled()
    done = publish_checkpoint(options.repo, folder, tag=options.tag, private=options.private)
    revision = options.tag or done.commit
    print(f'{done.address}\nAgeEstimator.from_pretrained("{options.repo}", revision="{revision}")')
    return 0
