"""Templates in the names of mappings, which Airflow leaves as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.batch.secrets import quoted
from airflow_provider_jobmanager.batch.values import templated
from airflow_provider_jobmanager.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable


def with_names_rendered(given: Any, rendered: Any, render: Callable[[str], Any]) -> Any:
    """What Airflow rendered, with the names in it rendered as well.

    ``{"{{ params.name }}": "x"}`` means the same as ``[{"name": "{{ params.name }}", "value": "x"}]``, where the name
    is a value.

    Args:
        given: what Airflow was given to render.
        rendered: what it made of it; the same object when it is data that another task brought.
        render: renders one text.

    Raises:
        ConfigurationError: two names came to the same.
    """
    if rendered is given or not isinstance(given, dict) or not any(map(_is_template, given)):
        return rendered
    result: dict[Any, Any] = {}
    for name, value in rendered.items():
        new = str(render(name)) if _is_template(name) else name
        if new in result:
            raise ConfigurationError(f"Two names of one mapping came to {quoted(new)}; one of them is {quoted(name)}.")
        result[new] = value
    return result


def _is_template(name: Any) -> bool:
    return isinstance(name, str) and templated(name)
