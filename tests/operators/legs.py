"""One leg of a task on a worker: from when it is taken up until it is deferred."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from tests.tell.working import operator


def deferred(method: str, context: Any, *, event: Any = None, **options: Any) -> TaskDeferred:
    """Take the task up as a new worker does; it is deferred again."""
    task = operator(**{"command_line": "/bin/sleep 60", "deferrable": True, **options})
    more = {} if method == "execute" else {"event": event}
    with pytest.raises(TaskDeferred) as caught:
        getattr(task, method)(context, **more)
    task.hook.client.close()
    return caught.value
