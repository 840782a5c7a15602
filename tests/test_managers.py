"""The managers' scripts of the examples, run as a node runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from airflow_provider_jobmanager.demo.examples import examples_folder

if TYPE_CHECKING:
    from pathlib import Path


def test_texts_of_the_same_name_are_counted_apart_and_once(tmp_path: Path) -> None:
    texts = {"in/a/x.txt": "one two three", "in/b/x.txt": "one", "in/y.txt": ""}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    said = []
    for _ in range(2):
        command = [sys.executable, str(examples_folder() / "managers" / "count_words.py"), "in/", "out"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        said.append(done.stdout)
        assert json.loads((tmp_path / "out" / "words.json").read_text()) == {"a/x.txt": 3, "b/x.txt": 1, "y.txt": 0}
    assert "4 words in 3 texts" in said[0]
    assert said[1] == "4 words in 3 texts\n"
