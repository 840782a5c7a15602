"""What is emulated and what is not, as a table made from the routes.

``python -m airflow_provider_jobmanager.local.matrix`` prints it as Markdown.
"""

from __future__ import annotations

import sys

from airflow_provider_jobmanager.local.routes import OPERATIONS

NOTES = {
    "create_task": "multiInstanceSettings, containerHostBatchBindMounts and identities are refused by name; "
    "containerSettings need a docker or podman engine",
    "create_job": "networkConfiguration, allowTaskPreemption and application packages are refused by name",
    "create_pool": "network, images, accounts and certificates are kept and given back, and have no effect; "
    "mountConfiguration is refused by name",
    "update_pool": "what a pool is made of can be changed while it has no nodes; mountConfiguration is refused by name",
    "list_subtasks": "always empty: multi-instance tasks are refused",
    "list_supported_images": "a short fixed list: a local node is this machine, whatever its image",
    "list_applications": "always empty",
    "get_application": "always ApplicationNotFound",
    "reimage_node": "clears the node's directory",
    "enable_pool_auto_scale": "formulas over tasks and nodes, with the documented functions; metrics of machines are "
    "refused by name",
}
"""What a user of an operation should know of its limits here."""


def markdown() -> str:
    """The table, one row for each operation of the REST API."""
    lines = ["| Operation | Request | Emulated | Limits |", "|---|---|---|---|"]
    for operation in OPERATIONS:
        emulated = "yes" if operation.handler else "no: 501"
        path = operation.template.replace("*}", "}")
        note = NOTES.get(operation.name, "")
        lines.append(f"| `{operation.name}` | `{operation.method} {path}` | {emulated} | {note} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
