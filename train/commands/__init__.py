"""The commands of `python -m train`: one file for each room, with its parsers and its calls.

Heavy imports stand within the calls, so that `--help` and wrong arguments are answered at once.
"""
