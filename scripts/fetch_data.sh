#!/usr/bin/env bash
# Fetches Debian's package dataset-fashion-mnist where there is apt: root installs it, others unpack it into their data folder.
# Anywhere else it does nothing: `ood-fashion data` then downloads the dataset through TensorFlow Datasets.
set -euo pipefail
package=dataset-fashion-mnist

if ! command -v apt-get >/dev/null; then
  exit 0
fi
echo "Fetching Fashion-MNIST from Debian's package $package (30 MB)" >&2
if [ "$(id -u)" = 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y -qq "$package" >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -y -qq "$package" >/dev/null; } ||
    echo "apt-get could not install $package; TensorFlow Datasets will try next" >&2
  exit 0
fi

target="${XDG_DATA_HOME:-$HOME/.local/share}/ood-fashion/fashion-mnist"
mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$(dirname "$target")/.unpack-XXXXXX") # beside the target, so that the move at the end is a rename
trap 'rm -rf "$work"' EXIT
# Package lists of our own, for the system's may be absent and only root can refresh them.
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
apt=(apt-get -qq -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache")
if (cd "$work" && { apt-get -qq download "$package" 2>/dev/null || { "${apt[@]}" update && "${apt[@]}" download "$package"; }; }); then
  dpkg-deb --extract "$work"/*.deb "$work/root"
  mv -T "$work/root/usr/share/datasets/fashion-mnist" "$target" 2>/dev/null || [ -e "$target" ] # another process was faster
else
  echo "apt-get could not download $package; TensorFlow Datasets will try next" >&2
fi
