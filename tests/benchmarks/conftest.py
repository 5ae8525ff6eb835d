"""The fixtures of all tests; pytest looks no further up than its options' folder."""

from tests.conftest import eileen_collins, finder, grace_hopper

__all__ = ["eileen_collins", "finder", "grace_hopper"]
