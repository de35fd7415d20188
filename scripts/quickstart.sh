#!/usr/bin/env bash
# Sets everything up, trains CNN-3 and prints its accuracy on the assignment's five test sets.
# Usage: scripts/quickstart.sh [OPTION of `ood-fashion train` ...]
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
exec .venv/bin/ood-fashion train --model cnn3 "$@"
