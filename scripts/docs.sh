#!/usr/bin/env bash
# Builds the documentation as a site, build/site/index.html, which works from the disk; any dead link is an error.
# Usage: scripts/docs.sh [OPTION of `mkdocs build` ...]
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh docs
NO_MKDOCS_2_WARNING=1 exec .venv/bin/mkdocs build --strict "$@"
