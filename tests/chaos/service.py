"""A local Batch service as a program, to be killed and started again: ``python service.py PORT STATE_DIR``."""

from __future__ import annotations

import sys

from airflow_provider_jobmanager.local import Settings, serve

if __name__ == "__main__":
    serve(Settings(port=int(sys.argv[1]), state_dir=sys.argv[2], nodes=2, slots_per_node=64))
