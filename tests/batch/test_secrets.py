"""No secret of a payload is shown, and every one is told to who masks logs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from jinja2.utils import htmlsafe_json_dumps

from airflow_provider_jobmanager.batch.job import Job
from airflow_provider_jobmanager.batch.job_manager_task import JobManagerTask
from airflow_provider_jobmanager.batch.secrets import MASK, quoted, redact, redact_text, says_secret, secret_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_jobmanager.batch.model import Model

SAS = "https://acc.blob.core.windows.net/c/in.csv?sv=2024-01-01&se=2026-01-01T00%3A00Z&sr=b&sig=aB%2Bc%2Fd%3D"
SECRETS = ["p4ss", "t0ken", "k3y", "m4rked", "aB%2Bc%2Fd%3D", "aB+c/d=", "acckey==", "r3g", "pr0t", "h3ader", "pr1v"]


def payload() -> dict[str, Any]:
    return {
        "id": "j",
        "commonEnvironmentSettings": [{"name": "DB_PASSWORD", "value": "p4ss"}, {"name": "PLAIN", "value": "seen"}],
        "job_manager_task": {
            "environment_settings": {
                "GITHUB_TOKEN": "t0ken",
                "StorageAccountKey": "k3y",
                "ORDINARY": {"value": "m4rked", "secret": True},
                "SASSY": "seen too",
                "CONN": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=acckey==;EndpointSuffix=x",
            },
            "command_line": f"fetch '{SAS}'",
            "resource_files": [{"http_url": SAS, "file_path": "in.csv"}],
            "container_settings": {"image_name": "i", "registry": {"username": "u", "password": "r3g"}},
            "output_files": [
                {"destination": {"container": {"upload_headers": [{"name": "Authorization", "value": "h3ader"}]}}}
            ],
            "authentication_token_settings": {"access": ["job"]},
        },
        "pool_info": {
            "auto_pool_specification": {
                "pool": {
                    "virtual_machine_configuration": {
                        "extensions": [{"protectedSettings": {"a": "pr0t"}, "settings": {"b": "seen as well"}}]
                    },
                    "user_accounts": [{"linux_user_configuration": {"ssh_private_key": "pr1v"}}],
                }
            }
        },
    }


@pytest.mark.parametrize("shape", ["python", "object", "wire"])
def test_every_secret_is_masked_and_told(shape: str) -> None:
    given: Any = payload()
    if shape != "python":
        given = Job.from_dict(given)
    if shape == "wire":
        # The mark is not on the wire: there only the name tells.
        given = given.serialize()
        given["jobManagerTask"]["environmentSettings"][2]["name"] = "SECRET"
    shown = json.dumps(redact(given))
    assert [secret for secret in SECRETS if secret in shown] == []
    assert set(secret_values(given)) == set(SECRETS)
    for kept in ("seen", "seen too", "seen as well", "in.csv", "sr=b", "AccountName=a", '["job"]', "2026-01-01"):
        assert kept in shown


def test_only_the_signature_is_masked() -> None:
    assert redact(SAS) == SAS.replace("aB%2Bc%2Fd%3D", MASK)
    assert redact({"httpUrl": SAS})["httpUrl"].endswith("&sig=***")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x sig=abc&y=1", "x sig=***&y=1"),
        ("u=https%3A%2F%2Fh%3Fsig%3Dabc%252B", "u=https%3A%2F%2Fh%3Fsig%3D***"),
        ("design=abc", "design=abc"),
        ("Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=abc=", "Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=***"),
        ("postgres://user:pw@host/db", "postgres://user:***@host/db"),
        ("postgres://u:p@ssw0rd@host/db", "postgres://u:***@host/db"),
        ("postgres://u:pa/ssw0rd@host/db", "postgres://u:***@host/db"),
        ("https://h:8080/a@b https://u:pass#word1@h/x@y", "https://h:8080/a@b https://u:***@h/x@y"),
        ("https://host:8080/a@b", "https://host:8080/a@b"),
        ("curl -H 'Authorization: Bearer abcdefgh12'", "curl -H 'Authorization: Bearer ***'"),
        ("tool --password hunter2 --verbose", "tool --password *** --verbose"),
        ("tool --db-password='hunter2'", "tool --db-password='***'"),
        ("tool --db-password=hunter2 --x", "tool --db-password=*** --x"),
        ("tool --account-key=abc== --x", "tool --account-key=*** --x"),
        ("tool --account-key abc== --x", "tool --account-key *** --x"),
        ("tool --password ''", "tool --password ''"),
        ("PASSWORD=hunter2 tool", "PASSWORD=*** tool"),
        ("PGPASSWORD=hunter2 psql", "PGPASSWORD=*** psql"),
        ("SSHPASS='hun ter2' sshpass -e", "SSHPASS='***' sshpass -e"),
        ("sh -c 'export DB_PASS=hunter2; API_KEY=hunter3 run'", "sh -c 'export DB_PASS=***; API_KEY=*** run'"),
        ("run COSMOS_KEY1=hunter2== X='PGPASSWORD=hunter3 psql'", "run COSMOS_KEY1=*** X='PGPASSWORD=*** psql'"),
        ("tool --connection-string=hunter2", "tool --connection-string=***"),
        ("https://h/?api_key=hunter2&x=1", "https://h/?api_key=***&x=1"),
        ("db.auth_cookie = 'hunter2'", "db.auth_cookie = '***'"),
        ("wrote key=a/file, PATH=/bin, if token == 'x'", "wrote key=a/file, PATH=/bin, if token == 'x'"),
        ("SharedAccessKeyName=n", "SharedAccessKeyName=n"),
        ("PASSWORD='hun ter2' tool", "PASSWORD='***' tool"),
        ('sh -c "PASSWORD=\\"it\'s\\" tool"', 'sh -c "PASSWORD=\\"***\\" tool"'),
        ('{"password": "ab\\"cdefghij", "n": "x"} no JSON', '{"password": "***", "n": "x"} no JSON'),
        ('{"password": "ab\\\\", "n": "x"} no JSON', '{"password": "***", "n": "x"} no JSON'),
        (r'''sh -c "curl -d '{\"token\": \"hun\\\"ter2\"}'"''', r'''sh -c "curl -d '{\"token\": \"***\"}'"'''),
        (r'''sh -c "curl -d '{\"token\": \"hunter2\\\\\"}'"''', r'''sh -c "curl -d '{\"token\": \"***\"}'"'''),
        ('tool --password "hun\\"ter2" --verbose', 'tool --password "***" --verbose'),
        ("password=None token='false'", "password=None token='false'"),
        ("curl -d '{\"db_password\": \"hunter2\", \"n\": 1}'", "curl -d '{\"db_password\": \"***\", \"n\": 1}'"),
        ("MY_TOKEN=hunter2 tool", "MY_TOKEN=*** tool"),
        ('sh -c "curl -d \'{\\"token\\": \\"hun ter2\\"}\'"', 'sh -c "curl -d \'{\\"token\\": \\"***\\"}\'"'),
        ('{"token": 5, "secret": {"a": 1}, no JSON', '{"token": 5, "secret": {"a": 1}, no JSON'),
        ('az login --client-secret "x y"', 'az login --client-secret "***"'),
        ("the token is gone", "the token is gone"),
    ],
)  # fmt: skip
def test_secrets_in_texts(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "name",
    [
        *("PASSWORD", "db_passwd", "PGPASSWORD", "DB_PWD", "clientSecret", "ACCESS_TOKEN", "API_KEY", "apikey"),
        "api-key",
        *("AWS_SECRET_ACCESS_KEY", "ACCOUNT_KEY", "accountKey", "SAS", "BLOB_SAS", "sasUrl", "CREDENTIALS"),
        "PRIVATE_KEY",
        *("AZURE_STORAGE_CONNECTION_STRING", "connectionString", "HTTP_AUTH", "ENCRYPTION_KEY", "KEY", "COOKIE"),
        *("DB_PASS", "SMTP_PASS", "SSHPASS", "CONN_STR", "CONNSTR", "COSMOS_KEY1", "GITHUB_PAT", "PASS"),
    ],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert redact({"name": name, "value": "v4lue"}) == {"name": name, "value": MASK}
    assert redact({name: "v4lue"}) == {name: MASK}


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "AUTHOR",
        "MONKEY",
        "KEYBOARD",
        "keyUrl",
        "PASSENGER_COUNT",
        "SASSY",
        "commandLine",
        "BYPASS",
        "COMPASS",
        "PATTERN",
    ],
)
def test_names_of_no_secrets(name: str) -> None:
    assert redact({"name": name, "value": "v4lue"}) == {"name": name, "value": "v4lue"}


def test_what_is_no_secret_yet_is_not_told() -> None:
    data = {"environment_settings": {"TOKEN": "{{ var.value.token }}", "EMPTY_SECRET": "", "A_SECRET": None}}
    assert secret_values(data, parse_time=True) == []
    assert redact({"name": "x", "value": "v", "secret": "true"}) == {"name": "x", "value": MASK, "secret": "true"}
    assert secret_values({"name": "x", "value": "v", "secret": "true"}) == ["v"]


def test_the_payload_itself_is_left_alone() -> None:
    given = payload()
    redact(given)
    assert given == payload()


def test_redacting_twice_changes_nothing() -> None:
    once = redact(payload())
    assert redact(once) == once


SPELLED = [
    {"name": "DB_PASSWORD", "value": "hunter2hunter2"},
    {"name": "PLAIN", "value": "m4rked", "secret": True},
    {"name": "SEEN", "value": "seen"},
    {"http_url": "https://h/c?sv=1&sig=SECRETSIG&se=2", "registry": {"password": "r3gistry"}},
]


@pytest.mark.parametrize("spell", [json.dumps, htmlsafe_json_dumps, str, lambda data: str(tuple(data))])
def test_a_text_that_spells_a_structure_is_looked_into(spell: Callable[[Any], str]) -> None:
    given = {"environment_settings": str(spell(SPELLED)), "plain": spell(["seen"])}

    shown = redact(given)

    assert json.loads(shown["environment_settings"]) == redact(SPELLED)
    assert shown["plain"] == given["plain"]
    assert secret_values(given) == ["hunter2hunter2", "m4rked", "SECRETSIG", "r3gistry"]


def test_a_text_that_spells_what_json_can_not_hold_or_too_much_of_it() -> None:
    assert redact("{(1, 2): {'password': 'hunter2'}}") == "{(1, 2): {'password': '***'}}"
    assert redact("[" * 70 + "'hunter2'" + "]" * 70) == MASK
    broken = "[{'when': datetime.date(2026, 1, 1), 'password': 'hunter2'}]"
    assert redact(broken) == broken.replace("hunter2", MASK)


def test_a_signature_in_a_url_that_jinja_wrote_as_json() -> None:
    text = str(htmlsafe_json_dumps("https://h/c?sv=1&sig=SECRETSIG&se=2"))
    assert "\\u0026sig=SECRETSIG\\u0026" in text
    assert redact(text) == text.replace("SECRETSIG", MASK)


def test_a_secret_is_known_as_json_writes_it_too() -> None:
    assert secret_values({"password": 'a&b\n"c'}) == ['a&b\n"c', r"a&b\n\"c", r"a\u0026b\n\"c"]


def test_a_secret_within_a_secret_is_told_as_well() -> None:
    found = secret_values({"name": "CONNECTION_STRING", "value": "AccountName=a;AccountKey=k3yk3y==;EndpointSuffix=x"})
    assert found == ["AccountName=a;AccountKey=k3yk3y==;EndpointSuffix=x", "k3yk3y=="]


STRUCTURED = {"API_TOKENS": ["tok-aaaaaa", "tok-bbbbbb"], "DB_CREDENTIALS": {"user": "u", "pins": [12345, None]}}
LEAVES = ["tok-aaaaaa", "tok-bbbbbb", "u", "12345"]


def test_all_of_a_list_or_a_mapping_under_a_telling_name_is_a_secret() -> None:
    hidden = {"API_TOKENS": [MASK, MASK], "DB_CREDENTIALS": {MASK: MASK, f"{MASK} (2)": [MASK, None]}}
    assert redact({"environment_settings": STRUCTURED}) == {"environment_settings": hidden}
    assert redact({"A_TOKEN": {"value": ["a", "b"], "secret": False}})["A_TOKEN"]["value"] == [MASK, MASK]
    assert secret_values({"environment_settings": STRUCTURED}) == LEAVES
    for kept in (
        {"authentication_token_settings": {"access": ["job"]}, "authenticationTokenSettings": {"access": ["job"]}},
        {"customer_managed_key": {"key_url": "https://vault.example/keys/k"}},
    ):
        assert redact(kept) == kept
        assert secret_values(kept) == []


def test_all_of_what_a_secret_spells_is_told() -> None:
    spelled = [{"name": name, "value": json.dumps(value)} for name, value in STRUCTURED.items()]
    assert set(secret_values(spelled)) >= {*LEAVES, *(each["value"] for each in spelled)}
    assert redact(spelled) == [{"name": name, "value": MASK} for name in STRUCTURED]


@pytest.mark.parametrize("mark", [True, "true", " true ", "True\n", "yes", 1, "1", "{{ params.secret }}", object()])
def test_every_mark_hides_that_does_not_say_otherwise(mark: Any) -> None:
    setting = {"name": "X", "value": "some-value", "secret": mark}
    assert redact(setting)["value"] == MASK
    assert "some-value" in secret_values(setting)
    assert says_secret(mark)


@pytest.mark.parametrize("mark", [None, False, "false", " False\n", "", "None", " null "])
def test_a_mark_that_is_false_or_unset_hides_nothing(mark: Any) -> None:
    setting = {"name": "X", "value": "some-value", "secret": mark}
    assert redact(setting) == setting
    assert secret_values(setting) == []


def test_what_looks_like_a_template_is_a_secret_once_templates_are_rendered() -> None:
    for secret in ("ab{{cdefgh", "ab{%cdefgh", "ab{#cdefgh"):
        assert secret in secret_values({"password": secret})
        assert secret_values({"password": secret}, parse_time=True) == []


def test_keys_under_a_telling_name_are_secrets_too() -> None:
    given = {"API_TOKENS": {"tok-abcdefgh": "alice", 12345: "robert", "user": None, "value": "x"}}
    assert redact(given) == {"API_TOKENS": {MASK: MASK, "*** (2)": MASK, "*** (3)": None, "value": MASK}}
    # A word such as user is not masked wherever it stands.
    assert secret_values(given) == ["tok-abcdefgh", "alice", "12345", "robert", "x"]


def test_each_line_of_a_secret_is_one() -> None:
    found = secret_values({"password": "hunter22\n", "private_key": "-----BEGIN-----\nabcdefgh\n  ijklmnop\nxyz=\n"})
    assert {"hunter22", "abcdefgh", "ijklmnop"} <= {*found}
    assert "xyz=" not in found


def test_no_member_of_a_payload_is_hidden_whole_by_its_name_unless_it_is_free() -> None:
    known = {name: field for cls in models_of(Job) for name, field in cls._fields.items()}
    objects = [name for name, field in known.items() if field.model is not None]
    shown = redact({name: [{"some_name": "x"}] for name in objects})
    assert [name for name in objects if shown[name] != [{"some_name": "x"}]] == []


def models_of(cls: type[Model]) -> set[type[Model]]:
    inner = [field.model for field in cls._fields.values() if field.model is not None]
    return {cls}.union(*(models_of(model) for model in inner))


def test_a_number_that_python_does_not_write_out_is_no_trouble() -> None:
    assert redact({"A_TOKEN": 10**5000, "PINS_SECRET": {10**5000: 1}, 10**5000: "x"})["A_TOKEN"] == MASK
    assert repr(JobManagerTask(required_slots=10**5000)) == "JobManagerTask(required_slots=<a very large number>)"


def test_a_representation_shows_a_secret_nowhere() -> None:
    task = JobManagerTask(environment_settings={"DB_PASSWORD": "hunter22"}, command_line="tool hunter22")
    assert "tool ***" in repr(task)
    assert "hunter22" not in repr(task)


def test_what_a_message_tells_is_masked_and_bounded() -> None:
    assert quoted("r.json?sig=abc") == "'r.json?sig=***'"
    assert quoted("x" * 61) == "a text of 61 characters"
    assert quoted(None) == "None"


def test_what_is_known_is_masked_wherever_it_stands_when_it_is_long_enough() -> None:
    data = {"command_line": "use hunter2 2 times", "count": "2"}
    assert redact(data, known=["hunter2", "2"]) == {"command_line": "use *** 2 times", "count": "2"}


def test_names_may_be_known_to_name_secrets() -> None:
    data = [{"name": "PIN", "value": "1"}, {"name": "COUNT", "value": "1"}]
    assert redact(data, named={"PIN"}) == [{"name": "PIN", "value": MASK}, {"name": "COUNT", "value": "1"}]
    assert secret_values(data, named={"PIN"}) == ["1"]


@pytest.mark.timeout(60)  # an expression that goes back and forth over such a line takes hours
def test_lines_without_end() -> None:
    redact_text("-" * 64 * 1024)
    redact_text("--secret-" * 8 * 1024)
    for quote in ('"', '\\"'):
        for inside in ("\\", '\\"', '\\\\\\"', '"token": "', "\\'"):
            redact_text(f"password={quote}" + inside * (64 * 1024 // len(inside)))
            redact_text(f'"password": {quote}' * 1024 + inside * 1024)
    for piece in ("://a:", "://:a/", "://u:p@", "a-", "A_TOKEN=", "A_KEY ", "token = "):
        redact_text(piece * (64 * 1024 // len(piece)))
