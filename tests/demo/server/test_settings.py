"""How the page is started: options, environment, and what follows from them."""

import pytest

from cilf.demo import texts
from cilf.demo.server.settings import QUEUE, Settings, read


def test_without_anything_the_page_is_for_this_computer_alone() -> None:
    settings = read([], {})
    assert settings == Settings(queue_size=QUEUE)
    assert settings.alone
    assert settings.where == ""


def test_help_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read(["--help"], {})
    assert ended.value.code == 0
    assert "usage: app.py" in capsys.readouterr().out


def test_every_option_is_read() -> None:
    line = "--host 0.0.0.0 --port 7000 --share --weights a/b --device cuda --mcp --max-faces 5 --queue-size 9"
    assert read(line.split(), {}) == Settings("0.0.0.0", 7000, True, "a/b", "cuda", True, 5, 9)


def test_the_environment_stands_in_for_missing_options() -> None:
    environment = {
        "CILF_WEIGHTS": "a/b",
        "CILF_DEVICE": "cuda",
        "CILF_MAX_FACES": "5",
        "CILF_QUEUE_SIZE": "9",
        "GRADIO_SERVER_NAME": "::",
    }
    assert read([], environment) == Settings("::", None, False, "a/b", "cuda", False, 5, 9)
    assert read(["--weights", "c/d", "--max-faces", "2"], environment).weights == "c/d"


@pytest.mark.parametrize(
    ("arguments", "environment", "where"),
    [
        ([], {"SPACE_ID": "user/name"}, texts.ON_A_SPACE),
        (["--share"], {}, texts.SHARED),
        (["--host", "0.0.0.0"], {}, texts.ON_THE_NETWORK),
        (["--host", "192.168.0.7"], {}, texts.ON_THE_NETWORK),
    ],
)
def test_a_page_for_others_says_where_the_picture_goes(
    arguments: list[str], environment: dict[str, str], where: str
) -> None:
    settings = read(arguments, environment)
    assert not settings.alone
    assert settings.where == where


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--trusted-hosts", "Ages.example, localhost"], {}),
        ([], {"CILF_TRUSTED_HOSTS": "ages.example,localhost"}),
        ([], {"JPY_PARENT_PID": "7"}),
        ([], {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}),
    ],
)
def test_a_page_that_a_proxy_may_bring_to_others_loads_no_weights(
    arguments: list[str], environment: dict[str, str]
) -> None:
    settings = read(arguments, environment)
    assert settings.trusted_hosts == (() if settings.notebook else ("ages.example", "localhost"))
    assert not settings.alone


def test_a_space_listens_to_the_outside() -> None:
    assert read([], {"SPACE_ID": "user/name"}).host == "0.0.0.0"


@pytest.mark.parametrize("value", ["0", "-1", "many", "2.5"])
def test_a_wrong_number_is_said(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, environment in ((["--max-faces", value], {}), ([], {"CILF_QUEUE_SIZE": value})):
        with pytest.raises(SystemExit):
            read(arguments, environment)
        assert value in capsys.readouterr().err
