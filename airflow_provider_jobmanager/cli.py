"""The command ``jobmanager``: one subcommand per thing to do from a terminal.

A subcommand is a module with ``add_arguments(parser)`` and ``run(arguments) -> int``; it is imported only when it is
the one that was asked for, so that ``jobmanager local`` does not wait for Airflow. It finds its own parser as
``arguments.parser``, whose ``error(message)`` ends with one line and exit code 2.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import TYPE_CHECKING, NoReturn

from airflow_provider_jobmanager import __version__
from airflow_provider_jobmanager.errors import ConfigurationError, JobManagerError

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = {
    "demo": ("airflow_provider_jobmanager.demo.demo", "see it work: a local Batch service and a real Airflow"),
    "local": ("airflow_provider_jobmanager.local.command", "run a Batch service on this machine"),
    "orphans": ("airflow_provider_jobmanager.orphans", "find and end jobs that no Airflow task follows any more"),
    "doctor": ("airflow_provider_jobmanager.doctor", "say what is wrong with a connection, a pool or a job"),
}
_FAILED, _BAD_INPUT, _INTERRUPTED = 1, 2, 130


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line: what was wrong, and where the help is."""

    def error(self, message: str) -> NoReturn:
        self.exit(_BAD_INPUT, f"{self.prog}: {message} (`{self.prog} --help` tells more)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``jobmanager``.

    Args:
        arguments: What stands after ``jobmanager`` on the command line, ``sys.argv`` when None.

    Returns:
        The exit code: 0 when all went well, 1 when it did not, 130 after Ctrl-C.

    Raises:
        SystemExit: With code 2 for bad input, after one line on stderr; with 0 after ``--help`` and ``--version``.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = _Parser(prog="jobmanager", description="Azure Batch job manager tasks from Apache Airflow.")
    parser.add_argument("--version", action="version", version=f"jobmanager {__version__}")
    subcommands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (path, summary) in _COMMANDS.items():
        subparser = subcommands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name in given[:1]:
            module = importlib.import_module(path)
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run, parser=subparser)
    parsed = parser.parse_args(given)
    try:
        code: int = parsed.run(parsed)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except ConfigurationError as error:
        parsed.parser.error(str(error))
    except JobManagerError as error:
        sys.stderr.write(f"jobmanager {parsed.command}: {error}\n")
        return _FAILED
    return code


if __name__ == "__main__":
    sys.exit(main())
