from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager import __version__, cli
from airflow_provider_jobmanager.errors import ConfigurationError, JobManagerError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: COMMAND"),
        (["dmeo"], "invalid choice: 'dmeo'"),
        (["local", "--port", "http"], "argument --port: invalid int value: 'http'"),
        (["local", "--port", "70000"], "port 70000 is no port"),
        (["local", "--host", "0.0.0.0"], "--allow-remote"),
        (["local", "--key", "not base64!"], "key must be base64"),
        (["local", "--slots-per-node", "0"], "slots_per_node 1 to 256"),
        (["local", "--account", "no/slash"], "account 'no/slash'"),
        (["demo", "extra"], "unrecognized arguments: extra"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert said in err


def test_the_demo_wants_a_folder_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "something").touch()
    for folder in (tmp_path, tmp_path / "something"):
        with pytest.raises(SystemExit) as caught:
            cli.main(["demo", "--folder", str(folder)])
        assert caught.value.code == 2
        assert "is not an empty folder; give a new one" in capsys.readouterr().err


def test_a_folder_that_can_t_be_made_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["demo", "--folder", "/dev/null/x"])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "--folder /dev/null/x can't be made: Not a directory" in err


@pytest.mark.parametrize("command", ["demo", "local"])
def test_help_names_every_argument_with_a_description(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    assert "--" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"jobmanager {__version__}\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigurationError("this is wrong"), 2), (JobManagerError("that went wrong"), 1), (KeyboardInterrupt(), 130)],
)
def test_errors_become_exit_codes(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from airflow_provider_jobmanager.demo import demo

    def fail(_arguments: object) -> int:
        raise error

    monkeypatch.setattr(demo, "run", fail)
    assert exit_code(lambda: cli.main(["demo"])) == code
    assert str(error) in capsys.readouterr().err


def exit_code(call: Callable[[], int]) -> object:
    try:
        return call()
    except SystemExit as leaving:
        return leaving.code


def test_a_subcommand_loads_only_what_it_needs() -> None:
    slow = ["airflow", "azure.batch", "starlette", "uvicorn"]
    program = (
        "import sys; from airflow_provider_jobmanager import cli\n"
        "try: cli.main(['local', '--help'])\n"
        f"except SystemExit: print('loaded:', [name for name in {slow} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"
