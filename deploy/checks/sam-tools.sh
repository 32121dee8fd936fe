# The tools of AWS that check template.yaml, from PyPI into a folder outside the repository, once. Sourced by what needs them.
# shellcheck shell=bash

readonly cfn_lint=1.58.0 sam_cli=1.170.0 moto=5.2.5

# shellcheck source=deploy/checks/from-pypi.sh
source "$(dirname "${BASH_SOURCE[0]}")/from-pypi.sh"
venv=$tools/cfn-lint-$cfn_lint-sam-$sam_cli-moto-$moto
export SAM_CLI_TELEMETRY=0 __SAM_CLI_APP_DIR=$tools/sam AWS_DEFAULT_REGION=eu-west-1

fail() { echo "deploy/checks/$(basename "$0"): $*" >&2; exit 1; }

install_sam_tools() {
  install_from_pypi "$venv" "cfn-lint==$cfn_lint" "aws-sam-cli==$sam_cli" "moto[server]==$moto"
}
