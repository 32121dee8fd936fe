# The tools of AWS that check template.yaml, from PyPI into a folder outside the repository, once. Sourced by what needs them.
# shellcheck shell=bash

readonly cfn_lint=1.58.0 sam_cli=1.170.0 moto=5.2.5

tools=${ORDERS_TOOLS_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/orders-tools}
venv=$tools/cfn-lint-$cfn_lint-sam-$sam_cli-moto-$moto
export SAM_CLI_TELEMETRY=0 __SAM_CLI_APP_DIR=$tools/sam AWS_DEFAULT_REGION=eu-west-1

fail() { echo "deploy/checks/$(basename "$0"): $*" >&2; exit 1; }

install_sam_tools() {
  mkdir -p "$tools"
  # Two runs at once must not install into each other.
  exec 9>"$tools/lock"
  flock 9
  if [ ! -e "$venv/complete" ]; then
    command -v python3 >/dev/null || fail "python3 is needed; install it first"
    rm -rf "$venv"
    python3 -m venv "$venv" || fail "python3 has no venv; install it first (Debian: python3-venv)"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "cfn-lint==$cfn_lint" "aws-sam-cli==$sam_cli" "moto[server]==$moto"
    touch "$venv/complete"
  fi
  exec 9>&-
}
