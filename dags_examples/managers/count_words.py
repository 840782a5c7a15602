"""A job manager that works on files: counts the words of all texts in a folder, and checkpoints.

Called as ``count_words.py INPUT OUTPUT``. Each text's count is written as soon as it is known, and a text that has one
is not counted again, so the script may be run a second time at any moment. Writes ``OUTPUT/words.json``.

Exit code 0: all was counted. 1: there are no texts. 2: the arguments are wrong.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def count(text: Path, checkpoint: Path) -> int:
    """The number of words of a text, from its checkpoint when there is one."""
    if checkpoint.exists():
        return int(checkpoint.read_text())
    words = len(text.read_text(encoding="utf-8", errors="replace").split())
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and moved, so that a checkpoint is never half a number.
    aside = checkpoint.with_suffix(".new")
    aside.write_text(str(words))
    aside.replace(checkpoint)
    print(f"{text.name}: {words} words", flush=True)
    return words


def main(arguments: list[str]) -> int:
    """Does the whole and returns the exit code."""
    try:
        source, target = map(Path, arguments)
    except ValueError:
        print("count_words.py INPUT OUTPUT", file=sys.stderr)
        return 2
    texts = sorted(path for path in source.rglob("*") if path.is_file())
    if not texts:
        print(f"no texts in {source}", file=sys.stderr)
        return 1
    target.mkdir(exist_ok=True)
    # Texts of the same name may lie in different folders.
    names = {text: text.relative_to(source).as_posix() for text in texts}
    counts = {name: count(text, target / f"{name}.count") for text, name in names.items()}
    (target / "words.json").write_text(json.dumps(counts))
    print(f"{sum(counts.values())} words in {len(counts)} texts", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
