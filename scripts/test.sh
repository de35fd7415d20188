#!/usr/bin/env bash
# Sets everything up and runs what CI runs: the checks of .pre-commit-config.yaml, then the tests.
# Usage: scripts/test.sh [--all] [ARGUMENT of pytest ...]        --all takes the slow tests too, tests/shifts one wing
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
.venv/bin/pre-commit run --all-files --show-diff-on-failure
if [ "${1:-}" = --all ]; then set -- -m "slow or not slow" "${@:2}"; fi
# A process a core, and a module in one process, for its tests share what they set up. In the order of their names: by
# their numbers of tests, the longest test would come last and have a core to itself.
exec .venv/bin/pytest --numprocesses auto --dist loadscope --no-loadscope-reorder "$@"
