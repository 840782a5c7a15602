"""What Airflow makes of the provider's description of itself."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import airflow
import jsonschema
import pytest
from airflow.providers_manager import ProvidersManager

from airflow_provider_jobmanager import connection
from airflow_provider_jobmanager.connection import AUTOMATIC
from airflow_provider_jobmanager.credentials import CLOUDS, METHODS
from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from airflow_provider_jobmanager.provider_info import CONN_TYPE, get_provider_info

(FORM,) = get_provider_info()["connection-types"]
FIELDS = FORM["conn-fields"]


def test_it_follows_airflows_schema() -> None:
    schema = Path(airflow.__file__).parent / "provider_info.schema.json"
    jsonschema.validate(get_provider_info(), __import__("json").loads(schema.read_text()))


def test_form_and_code_agree() -> None:
    assert FORM["connection-type"] == CONN_TYPE == AzureBatchJobManagerHook.conn_type
    assert FORM["hook-name"] == AzureBatchJobManagerHook.hook_name
    assert FIELDS["auth_method"]["schema"]["enum"] == [AUTOMATIC, *METHODS]
    assert FIELDS["cloud"]["schema"]["enum"] == [cloud.name for cloud in CLOUDS]
    source = inspect.getsource(connection)
    for name in FIELDS:
        assert f'"{name}"' in source, f"the form has {name}, which nobody reads"


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_optional_labelled_and_described(name: str) -> None:
    described = FIELDS[name]
    assert "null" in described["schema"]["type"]
    assert described["label"]
    assert described["description"].endswith((".", ")."))


def test_airflow_takes_the_form_without_importing_the_hook() -> None:
    manager = ProvidersManager()
    manager.initialize_providers_hooks()
    widgets = manager._connection_form_widgets
    assert {widget.field_name for key, widget in widgets.items() if key.split("__")[1] == CONN_TYPE} == set(FIELDS)
    assert widgets[f"extra__{CONN_TYPE}__private_key"].is_sensitive
    assert set(manager.field_behaviours[CONN_TYPE]["hidden_fields"]) == {"host", "schema"}


def test_what_holds_a_secret_is_masked_by_its_name() -> None:
    from airflow._shared.secrets_masker import should_hide_value_for_key

    secret = {name for name in FIELDS if FIELDS[name]["schema"].get("format") == "password"}
    assert secret == {"private_key"} == {name for name in FIELDS if should_hide_value_for_key(name)}


def test_the_modules_and_links_it_names_are_there() -> None:
    info = get_provider_info()
    for kind in ("operators", "sensors", "hooks", "triggers"):
        for module in info[kind][0]["python-modules"]:
            import_module(module)
    for link in info["extra-links"]:
        module, _, name = link.rpartition(".")
        assert hasattr(import_module(module), name)
