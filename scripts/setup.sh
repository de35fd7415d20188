#!/usr/bin/env bash
# Makes .venv, installs the project into it with the extras that are named, and sees to the dataset; with the extra
# `test`, to Chromium too.
# What is there already is left as it is, so that a second run takes a second or two.
# Usage: scripts/setup.sh [EXTRA ...]        PYTHON=/path/to/python3.11 picks the interpreter
set -euo pipefail
cd "$(dirname "$0")/.."

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

if ! { [ -x .venv/bin/pip ] && new_enough .venv/bin/python; }; then
  python=""
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if new_enough "$candidate"; then python=$candidate && break; fi
  done
  if [ -z "$python" ]; then
    echo "setup: expected Python 3.11 or newer. Received: $(python3 --version 2>&1). Install it, or set PYTHON." >&2
    exit 1
  fi
  rm -rf .venv
  if ! "$python" -m venv .venv >/dev/null 2>&1; then
    # Debian and Ubuntu ship Python without what venv needs.
    package="$(basename "$(readlink -f "$(command -v "$python")")")-venv"
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
      echo "setup: expected a Python that can make virtual environments. Install it: sudo apt-get install $package" >&2
      exit 1
    fi
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >/dev/null
    rm -rf .venv
    "$python" -m venv .venv
  fi
fi

# What is installed is noted beside what it was installed from, one extra a line.
stamp=".venv/installed-$({ cat pyproject.toml && pwd -P; } | sha256sum | cut -c1-16)"
missing=false
for extra in base "$@"; do grep -qsx "$extra" "$stamp" || missing=true; done
if $missing; then
  extras=$(IFS=,; echo "$*")
  echo "Installing the project into .venv (TensorFlow is some 600 MB; this takes a minute or more)" >&2
  log=.venv/install.log
  if ! .venv/bin/pip install --disable-pip-version-check --editable ".${extras:+[$extras]}" >$log 2>&1; then
    tail -n 20 $log >&2
    echo "setup: pip could not install the project; $log has all that it said" >&2
    exit 1
  fi
  rm -f .venv/installed-*
  printf '%s\n' base "$@" >"$stamp"
fi

# Apart from the rest, for the tests that ask for it: TensorFlow imports JAX in every process that could.
if [[ " $* " == *" test "* ]] && ! [ -d .venv/jax/jax ]; then
  .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --target .venv/jax "jax>=0.6" "jaxlib>=0.6"
fi

# The tests look at reports in a browser.
if [[ " $* " == *" test "* ]] && ! { command -v chromium && command -v chromedriver; } >/dev/null; then
  packages=(chromium chromium-driver)
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "setup: expected chromium and chromedriver, for the tests. Install them: sudo apt-get install ${packages[*]}" >&2
    exit 1
  fi
  echo "Installing ${packages[*]} for the tests" >&2
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y -qq "${packages[@]}" >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -y -qq "${packages[@]}" >/dev/null; }
fi

if ! summary=$(.venv/bin/ood-fashion data --offline 2>/dev/null); then
  scripts/fetch_data.sh
  summary=$(.venv/bin/ood-fashion data) # explains itself if there is still none
fi
head -n 2 <<<"$summary"
