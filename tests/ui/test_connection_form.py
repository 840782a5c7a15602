"""The connection form in a real browser, on the real API server: add by clicking, reopen, press Test."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager.demo.airflow_home import API_SERVER, AirflowHome
from airflow_provider_jobmanager.provider_info import get_provider_info
from tests.browser import logged_in, screenshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from airflow_provider_jobmanager.local import LocalBatch

(FORM,) = get_provider_info()["connection-types"]
PEM = "-----BEGIN PRIVATE KEY-----planted-in-the-form-----END PRIVATE KEY-----"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_databases: Path) -> Iterator[AirflowHome]:
    environment = {"AIRFLOW__CORE__TEST_CONNECTION": "Enabled"}
    with AirflowHome(tmp_path_factory.mktemp("airflow-form"), environment=environment) as home:
        home.migrate(migrated_databases)
        home.start([API_SERVER])
        home.api.wait_until(lambda: answers(home), bool, "the API server to answer", 120)
        yield home


def answers(home: AirflowHome) -> bool:
    import httpx

    home.check_alive()
    try:
        return bool(home.api.health())
    except httpx.TransportError:
        return False


def open_extra_fields(page: Page) -> None:
    page.get_by_role("dialog").get_by_role("button", name="Extra Fields", exact=True).click()
    page.locator("input[name=element_account_url]").wait_for(state="visible")


def add(page: Page, conn_id: str, standard: dict[str, str], extra: dict[str, str]) -> None:
    """Add a connection as a user does."""
    page.get_by_role("button", name="Add Connection").click()
    dialog = page.get_by_role("dialog")
    dialog.locator("input[name=connection_id]").fill(conn_id)
    dialog.get_by_role("combobox").click()
    page.keyboard.type(FORM["hook-name"])
    page.keyboard.press("Enter")
    for name, value in standard.items():
        dialog.locator(f"input[name={name}]").fill(value)
    open_extra_fields(page)
    for name, value in extra.items():
        dialog.locator(f"input[name=element_{name}]").fill(value)


def save(page: Page) -> None:
    with page.expect_response(lambda answer: "/api/v2/connections" in answer.url and answer.request.method != "GET"):
        page.get_by_role("dialog").get_by_role("button", name="Save").click()
    page.get_by_role("dialog").wait_for(state="hidden")


def press_test(page: Page, conn_id: str) -> dict[str, object]:
    row = page.get_by_role("row").filter(has_text=conn_id)
    with page.expect_response(lambda answer: answer.url.endswith("/connections/test")) as caught:
        row.get_by_role("button", name="Test Connection").click()
    assert caught.value.status == 200, caught.value.text()
    return caught.value.json()


def test_a_connection_is_added_by_clicking_reopened_and_tested(home: AirflowHome, local_batch: LocalBatch) -> None:
    with logged_in(home) as page:
        standard = {"login": local_batch.account, "password": local_batch.key, "port": "443"}
        add(page, "by_clicking", standard, {"account_url": local_batch.url, "resource_group": "my-group"})
        shown = screenshot(page, "connection-form-add")
        for name, described in FORM["conn-fields"].items():
            assert page.locator(f"[name=element_{name}]").count() == 1
            assert described["label"] in shown
            assert described["description"] in shown
        for label in FORM["ui-field-behaviour"]["relabeling"].values():
            assert page.get_by_text(label).count() == 1
        save(page)

        assert press_test(page, "by_clicking") == {
            "status": True,
            "message": f"Connected to {local_batch.url} with the key of account {local_batch.account}.",
        }
        screenshot(page, "connection-form-tested")

        page.get_by_role("row").filter(has_text="by_clicking").get_by_role("button", name="Edit Connection").click()
        open_extra_fields(page)
        assert page.locator("input[name=element_account_url]").input_value() == local_batch.url
        assert page.locator("input[name=element_auth_method]").input_value() == "auto"
        assert page.locator("input[name=login]").input_value() == local_batch.account
        assert page.locator("input[name=password]").input_value() == "***"
        assert local_batch.key not in screenshot(page, "connection-form-reopened") + page.content()
        page.locator("input[name=element_subscription_id]").fill("my-subscription")
        save(page)

        # The masked password was not saved over the real one.
        assert press_test(page, "by_clicking")["status"] is True
    assert [entry.path.partition("?")[0] for entry in local_batch.journal] == ["/jobs", "/jobs"]


def test_a_wrong_key_is_told_with_what_to_change_and_secrets_read_back_masked(
    home: AirflowHome, local_batch: LocalBatch
) -> None:
    wrong = "d3Jvbmcta2V5LXBsYW50ZWQtaW4tdGhlLWZvcm0="
    with logged_in(home) as page:
        standard = {"login": local_batch.account, "password": wrong, "port": "443"}
        add(page, "wrong_key", standard, {"account_url": local_batch.url})
        save(page)

        answer = press_test(page, "wrong_key")

        assert answer["status"] is False
        assert "copy a key of this account into the connection's password" in str(answer["message"])
        page.get_by_text("copy a key of this account").first.wait_for()
        assert wrong not in screenshot(page, "connection-form-wrong-key") + page.content()

        add(page, "with_pem", {"port": "443"}, {"account_url": local_batch.url, "private_key": PEM})
        save(page)
        page.get_by_role("row").filter(has_text="with_pem").get_by_role("button", name="Edit Connection").click()
        open_extra_fields(page)
        assert page.locator("input[name=element_private_key]").input_value() == "***"
        assert "planted-in-the-form" not in page.content()


def test_the_command_line_tests_connections(home: AirflowHome, local_batch: LocalBatch) -> None:
    good, wrong = local_batch.connection_json(), local_batch.connection_json().replace(local_batch.key, "d3Jvbmc=")
    environment = {**home.environment, "AIRFLOW_CONN_GOOD": good, "AIRFLOW_CONN_WRONG": wrong}
    said = {}
    for name in ("good", "wrong"):
        done = subprocess.run(
            [sys.executable, "-m", "airflow", "connections", "test", name],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        said[name] = done.stdout
        assert local_batch.key not in done.stdout + done.stderr
    assert "Connection success!" in said["good"]
    assert "Connection failed!" in said["wrong"]
    assert "copy a key of this account" in " ".join(said["wrong"].split())
