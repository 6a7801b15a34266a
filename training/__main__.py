"""`python -m training STAGE …`; the stages are listed below, training/README.md says in which order they go."""

from __future__ import annotations

import importlib
import sys

STAGES = (
    "bank",
    "train",
    "average",
    "export",
    "presence",
    "evaluate",
    "scores",
    "flow_bank",
    "flow_train",
    "flow_export",
    "flow_scores",
    "distil",
)

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in STAGES:
        sys.exit(f"usage: python -m training {{{','.join(STAGES)}}} …  (each takes --help and --smoke)")
    importlib.import_module(f"training.{sys.argv[1]}").main(sys.argv[2:])
