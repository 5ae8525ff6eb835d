"""Who may be live, for how long, and who is told what."""

import pytest

from cilf.demo.live.streams import Streams
from cilf.errors import CilfError

HEIGHT, WIDTH = 240, 320


def test_a_full_house_asks_for_patience() -> None:
    streams = Streams(most=2)
    streams.tracker("one")
    streams.tracker("two")
    with pytest.raises(CilfError, match="try again"):
        streams.tracker("three")
    streams.forget("one")
    streams.tracker("three")


def test_an_idle_stream_is_forgotten() -> None:
    now = [0.0]
    streams = Streams(most=1, idle=10, clock=lambda: now[0])
    first = streams.tracker("one")
    now[0] = 9.0
    assert streams.tracker("one") is first
    now[0] = 20.0
    assert streams.tracker("two") is not first
    assert len(streams) == 1


def test_an_idle_stream_is_forgotten_though_nobody_else_comes() -> None:
    now = [0.0]
    streams = Streams(idle=10, clock=lambda: now[0])
    streams.tracker("left")
    now[0] = 10.0
    streams.forget_old()
    assert len(streams) == 1
    now[0] = 11.0
    streams.forget_old()
    assert len(streams) == 0


def test_the_longest_one_makes_room_after_its_turn() -> None:
    now = [0.0]
    streams = Streams(most=2, idle=1000, turn=120, clock=lambda: now[0])
    streams.tracker("one")
    now[0] = 60.0
    streams.tracker("two", first=True)
    streams.tracker("one", first=True)  # a new start is no new turn
    now[0] = 119.0
    with pytest.raises(CilfError, match="try again"):
        streams.tracker("three", first=True)
    now[0] = 120.0
    streams.tracker("three", first=True)
    assert len(streams) == 2
    streams.tracker("two")
    with pytest.raises(CilfError, match="press Start"):
        streams.tracker("one")
    with pytest.raises(CilfError, match="try again"):  # told once; from then on it is a newcomer
        streams.tracker("one", first=True)
    now[0] = 180.0
    streams.tracker("one", first=True)
    with pytest.raises(CilfError, match="press Start"):
        streams.tracker("two")


def test_a_new_start_is_not_told_of_the_lost_place() -> None:
    now = [0.0]
    streams = Streams(most=1, idle=1000, turn=120, clock=lambda: now[0])
    streams.tracker("one")
    now[0] = 120.0
    streams.tracker("two")
    streams.forget("two")
    streams.tracker("one", first=True)
    streams.tracker("one")
