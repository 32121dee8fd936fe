# Installs packages from PyPI into folders outside the repository, once. Sourced by what needs them.
# shellcheck shell=bash

tools=${ORDERS_TOOLS_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/orders-tools}

# install_from_pypi FOLDER ARGUMENT...: makes a virtual environment and has its pip install what the arguments say. Needs a function
# `fail`. If pip fails, the lock stays, so that the caller may fill the folder in another way.
install_from_pypi() {
  local folder=$1
  shift
  mkdir -p "$tools"
  # Two runs at once must not install into each other.
  exec 9>"$tools/lock"
  flock 9
  if [[ ! -e $folder/complete ]]; then
    command -v python3 >/dev/null || fail "python3 is needed; install it first"
    rm -rf "$folder"
    python3 -m venv "$folder" || fail "python3 has no venv; install it first (Debian: python3-venv)"
    "$folder/bin/pip" install --quiet --disable-pip-version-check "$@" || return 1
    touch "$folder/complete"
  fi
  exec 9>&-
}
