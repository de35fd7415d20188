#!/usr/bin/env bash
# Installs the package's wheel, away from the checkout, under other versions of Python and of what it needs, and runs
# scripts/smoke.py there: the lowest versions that pyproject.toml allows, those of Google Colab (August 2026), the newest.
# The environments, 2.4 GB each, stay in ~/.cache/ood-fashion-test-versions until pyproject.toml or this file changes.
# Usage: scripts/test_versions.sh [lowest] [colab] [newest]        all of them unless named
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
[ -x .venv/bin/uv ] || scripts/setup.sh test
uv=$root/.venv/bin/uv
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ood-fashion-test-versions
key=$(cat pyproject.toml scripts/test_versions.sh | sha256sum | cut -c1-16)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export UV_PYTHON_DOWNLOADS=never TF_CPP_MIN_LOG_LEVEL=3
unset PYTHONPATH VIRTUAL_ENV

# pyenv's own commands on PATH run one version alone; its interpreters stand in a folder each.
if command -v pyenv >/dev/null; then interpreters=$(printf '%s:' "$(pyenv root)"/versions/*/bin); fi

declare -A python=([lowest]=3.11 [colab]=3.13 [newest]=3.13)
declare -A options=(
  [lowest]="--resolution lowest-direct"
  [colab]="tensorflow==2.20.0 keras==3.13.2 numpy==2.1.3 click==8.4.2 pillow==11.3.0 protobuf==5.29.6"
  [newest]=""
)

make_environment() {
  local name=$1 environment=$2 version=${python[$1]}
  rm -rf "$cache/$name"-*
  PATH=${interpreters:-}$PATH "$uv" venv --quiet --python "$version" "$environment" || {
    echo "test_versions: expected Python $version. Received: none that uv finds. Install it, and put it on PATH." >&2
    exit 1
  }
  # Alone at first: with all the rest, uv takes an older TensorFlow, which sets no limit to protobuf, over an older protobuf.
  if [ "$name" = newest ]; then "$uv" pip install --quiet --python "$environment" tensorflow; fi
  # shellcheck disable=SC2086
  "$uv" pip install --quiet --python "$environment" -r pyproject.toml ${options[$name]}
  touch "$environment/complete"
}

names=("$@")
[ $# -gt 0 ] || names=(lowest colab newest)
for name in "${names[@]}"; do
  if [ -z "${python[$name]:-}" ]; then
    echo "test_versions: expected lowest, colab or newest. Received: $name." >&2
    exit 2
  fi
done

"$uv" build --quiet --wheel --out-dir "$work" .
folders=()
for name in "${names[@]}"; do
  environment=$cache/$name-$key
  [ -e "$environment/complete" ] || make_environment "$name" "$environment"
  "$uv" pip install --quiet --python "$environment" --no-deps --reinstall "$work"/*.whl
  "$uv" pip check --quiet --python "$environment"
  "$environment/bin/ood-fashion" --version
  folders+=("$work/$name")
  (cd "$work" && "$environment/bin/python" -P "$root/scripts/smoke.py" measure "$work/$name" "$root/docs/ood_fashion.ipynb")
done
for name in "${names[@]}"; do
  (cd "$work" && "$cache/$name-$key/bin/python" -P "$root/scripts/smoke.py" exchange "${folders[@]}")
done
"$environment/bin/python" -P scripts/smoke.py differences "${folders[@]}"
