"""A job manager with a result: compares what there is with what there should be, and writes ``result.json``.

Told by environment settings of its task, both JSON objects of names and numbers:

``WANTED``
    What there should be.
``FOUND``
    What there is.

Exit code 0: something is missing; the result says what. 3: nothing is. 2: the settings are wrong.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> int:
    """Does the whole and returns the exit code."""
    try:
        wanted, found = (
            {name: int(count) for name, count in json.loads(os.environ[setting]).items()}
            for setting in ("WANTED", "FOUND")
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        print(f"WANTED and FOUND must be JSON objects of names and numbers: {error}", file=sys.stderr)
        return 2
    missing = {name: count - found.get(name, 0) for name, count in wanted.items() if count > found.get(name, 0)}
    # In the working directory, where the operator looks for it.
    Path("result.json").write_text(json.dumps(missing))
    print(f"{len(missing)} of {len(wanted)} kinds are short", flush=True)
    return 0 if missing else 3


if __name__ == "__main__":
    sys.exit(main())
