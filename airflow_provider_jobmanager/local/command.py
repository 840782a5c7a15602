"""``jobmanager local``: the local Batch service from a terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_jobmanager.local.auth import PUBLIC_AUDIENCE, Issuer
from airflow_provider_jobmanager.local.settings import Settings, SettingsError

if TYPE_CHECKING:
    import argparse

_DEFAULTS = Settings()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments: one for each setting."""
    parser.add_argument("--host", default=_DEFAULTS.host, help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=_DEFAULTS.port, help="port, 0 for a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--state-dir", type=Path, metavar="DIR", help="keep jobs and files here (default: nothing outlives the service)"
    )
    parser.add_argument("--account", default=_DEFAULTS.account, metavar="NAME", help="(default: %(default)s)")
    parser.add_argument(
        "--key", default=_DEFAULTS.key, metavar="BASE64", help="account key (default: a well-known one)"
    )
    parser.add_argument(
        "--nodes",
        type=int,
        default=_DEFAULTS.nodes,
        metavar="N",
        help="nodes of the pool `local` (default: %(default)s)",
    )
    parser.add_argument(
        "--slots-per-node", type=int, default=_DEFAULTS.slots_per_node, metavar="N", help="(default: %(default)s)"
    )
    parser.add_argument("--active-job-quota", type=int, metavar="N", help="refuse more active jobs than these")
    parser.add_argument(
        "--auto-storage", metavar="CONNECTION", help="connection string of the storage account linked to the account"
    )
    parser.add_argument(
        "--task-path", default=_DEFAULTS.task_path, metavar="PATH", help="PATH of the tasks (default: %(default)s)"
    )
    parser.add_argument(
        "--https",
        action="store_true",
        help="serve over TLS, with a certificate made at the start in the state directory",
    )
    parser.add_argument(
        "--issuer-key",
        type=Path,
        metavar="FILE",
        help="with --https: take bearer tokens signed with this public key (PEM) or one of these (a JSON Web Key Set)",
    )
    parser.add_argument("--issuer", metavar="NAME", help="what such a token must say of its issuer (default: anything)")
    parser.add_argument(
        "--audience",
        action="append",
        metavar="URI",
        help=f"what such a token may be for; can be given again (default: {PUBLIC_AUDIENCE})",
    )
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="let --host be reachable from other machines: whoever has the key then runs commands on this one",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serves until SIGINT, SIGTERM or SIGHUP; prints the Airflow connection to use once it listens."""
    try:
        settings = Settings(
            host=arguments.host,
            port=arguments.port,
            account=arguments.account,
            key=arguments.key,
            state_dir=arguments.state_dir,
            nodes=arguments.nodes,
            slots_per_node=arguments.slots_per_node,
            active_job_quota=arguments.active_job_quota,
            allow_remote=arguments.allow_remote,
            auto_storage=arguments.auto_storage,
            https=arguments.https,
            issuer=_issuer(arguments),
            task_path=arguments.task_path,
        )
        from airflow_provider_jobmanager.local import serve  # noqa: PLC0415  `--help` needs no web server

        serve(settings, say=_say)
    except SettingsError as error:
        arguments.parser.error(str(error))
    return 0


def _issuer(arguments: argparse.Namespace) -> Issuer | None:
    if arguments.issuer_key is None:
        if arguments.issuer is not None or arguments.audience is not None:
            raise SettingsError("--issuer and --audience are about bearer tokens, which need --issuer-key.")
        return None
    if not arguments.https:
        raise SettingsError("--issuer-key needs --https: bearer tokens are taken over HTTPS only.")
    try:
        return Issuer.of_file(
            arguments.issuer_key, audiences=arguments.audience or (PUBLIC_AUDIENCE,), issuer=arguments.issuer
        )
    except (OSError, ValueError) as error:
        raise SettingsError(f"--issuer-key {str(arguments.issuer_key)!r} can't be used: {error}") from None


def _say(line: str) -> None:
    # Flushed: whoever reads it through a pipe waits for it.
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
