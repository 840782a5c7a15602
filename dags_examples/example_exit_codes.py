"""Exit codes that mean something: one skips the task and what follows, another fails it without a retry.

This manager ends with 3 when there is nothing to do, and with 2 when its settings are wrong, which they would be at the
next try as well. Otherwise its result file says what to do.

The manager is a script of its own, `managers/check_stock.py`.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param, task

from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator

with DAG(
    "example_exit_codes",
    schedule=None,
    params={
        "pool_id": Param("local", type="string", title="Pool"),
        "script_url": Param(
            "http://127.0.0.1:8000/check_stock.py",
            type="string",
            format="uri",
            title="Manager script",
            description="Where the nodes can download managers/check_stock.py",
        ),
        "wanted": Param({"nails": 100, "screws": 20}, type="object", title="What there should be"),
        "found": Param({"nails": 70, "screws": 25}, type="object", title="What there is"),
    },
    tags=["example", "azure-batch"],
    doc_md=__doc__,
):
    check = AzureBatchJobManagerOperator(
        task_id="check_stock",
        pool_id="{{ params.pool_id }}",
        command_line="/bin/sh -c 'exec python3 check_stock.py'",
        resource_files=[{"http_url": "{{ params.script_url }}", "file_path": "check_stock.py"}],
        environment_settings={"WANTED": "{{ params.wanted | tojson }}", "FOUND": "{{ params.found | tojson }}"},
        result_file="result.json",
        skip_on_exit_code=3,  # nothing is missing
        fail_without_retry_on_exit_code=2,  # the settings are wrong, and will be next time
        retries=2,
        deferrable=True,
    )

    @task
    def order(missing: dict[str, int]) -> str:
        """Not run when nothing is missing."""
        return ", ".join(f"{count} {name}" for name, count in sorted(missing.items()))

    order(check.output)
