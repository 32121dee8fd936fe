# shellcheck shell=bash disable=SC2154
# What the scripts of deploy/ share: messages, timed steps, locks, missing tools. Knows nothing of any server.

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "deploy/${0##*/}: $*"
  exit 1
}

# step WHAT LOG COMMAND...: runs it quietly; says what it does, and how long it took or the end of its log.
step() {
  local what=$1 log=$2 began=$EPOCHREALTIME
  shift 2
  say "$what …"
  mkdir -p "${log%/*}"
  if "$@" >"$log" 2>&1 </dev/null; then
    say "$what: $(seconds_since "$began") s"
    return
  fi
  say "$what: failed; the end of $log:"
  tail -n 20 "$log" >&2
  return 1
}

seconds_since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'; }

# Holds an exclusive lock on the file until this script ends. Servers must not inherit descriptor 9 (see launch).
hold_lock() {
  exec 9>"$1"
  if flock --nonblock 9; then return; fi
  say "another ${0##*/} is at work; waiting for it"
  flock --wait 900 9 || fail "still locked after 15 minutes: $1"
}

# need FOR COMMAND PACKAGE: root on Debian gets the missing command installed; anybody else is told what is lacking.
need() {
  if command -v "$2" >/dev/null; then return; fi
  if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    fail "$1 lacks $2 (Debian's package $3)"
  fi
  step "$1: installing $3" "$home/log/install-$3.log" apt_install "$3" || fail "$1 lacks $2 (Debian's package $3)"
}

# java_17 FOR: ends this script when the java on the PATH is older.
java_17() {
  local major
  major=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
  ((major >= 17)) || fail "$1 lacks Java 17 or newer: the java on the PATH is version $major"
}

# One at a time, for apt-get waits for the lock of dpkg and not for that of the package lists. Retries once with fresh lists: a
# fresh machine has none, and old ones name files which are gone.
apt_install() {
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Check-Valid-Until=false)
  (
    flock 8
    if "${apt[@]}" install -y --no-install-recommends "$@"; then exit; fi
    "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "$@"
  ) 8>"$home/apt.lock"
}
