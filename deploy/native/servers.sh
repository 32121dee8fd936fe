# shellcheck shell=bash disable=SC2154
# The native engine: brings servers up, takes them down, tells how they are. A server NAME is made of the functions NAME_install,
# NAME_start, NAME_ready and NAME_stop. `documentdb` is the storage that mongodb brings along; it has no port.

native_runs() {
  local name
  for name in mongodb documentdb kafka postgres registry; do
    if alive "$name"; then return; fi
  done
  return 1
}

# native_has NAME: there is such a server, of those that come up only when they are named.
native_has() { [[ -e $run/$1.pid ]]; }

native_versions() {
  find_postgres
  printf "FerretDB %s (MongoDB's protocol) over PostgreSQL with DocumentDB, Apache Kafka %s, PostgreSQL %s\n" \
    "$ferretdb_version" "$kafka_version" "$(postgres_run postgres --version | sed 's/^[^0-9]*\([0-9.]*\).*/\1/')"
}

native_up() {
  local name starting=()
  [[ -z $disk ]] || mount_disk
  # Before anything is started or installed: what listens where ours does not run is somebody else's.
  for name in "$@"; do
    if ! alive "$name"; then refuse_held "$name" "$(port_of "$name")"; fi
  done
  for name in "$@"; do
    if server_alive "$name"; then say "$name: runs already (process $(pid_of "$name"))"; else starting+=("$name"); fi
  done
  start_servers "${starting[@]}"
  for name in "$@"; do answers "$name" || start_again "$name" || exit 1; done
}

start_servers() {
  (($#)) || return 0
  install_servers "$@"
  side_by_side native_start "$@"
}

# What runs already may be about to end, as a server does whose disk is full.
start_again() {
  if server_alive "$1"; then return 1; fi
  start_servers "$1"
}

# Waits for a server's answer, and before it for that of its storage: who waits for MongoDB alone does not notice that its storage has ended.
answers() {
  if [[ $1 == mongodb ]]; then await documentdb documentdb_ready || return 1; fi
  await "$1" "${1}_ready"
}

# MongoDB runs when its storage does too.
server_alive() { alive "$1" && { [[ $1 != mongodb ]] || alive documentdb; }; }

# One installation at a time, for all offsets share what is installed.
install_servers() {
  (
    hold_lock "$home/install.lock"
    side_by_side native_install "$@"
  ) || exit 1
}

native_install() { "$1_install"; }

# side_by_side FUNCTION NAME...: calls it for every name at once; ends this script when one of them failed.
side_by_side() {
  local name job jobs=() failed=no
  for name in "${@:2}"; do
    "$1" "$name" &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job" || failed=yes; done
  [[ $failed == no ]] || exit 1
}

native_start() {
  local name=$1 began=$EPOCHREALTIME
  if [[ $name == mongodb ]]; then start_storage || return 1; fi
  if ! alive "$name"; then
    "${name}_start" && await "$name" "${name}_ready" || return 1
  fi
  say "$name: started in $(seconds_since "$began") s (process $(pid_of "$name"))"
}

start_storage() {
  if alive documentdb; then return; fi
  documentdb_start && await documentdb documentdb_ready
}

native_down() {
  local name
  for name in "$@"; do
    "${name}_stop"
    if [[ $name == mongodb ]]; then documentdb_stop; fi
    [[ $purge == no ]] || native_purge "$name"
  done
  [[ $purge == no ]] || unmount_disk
}

native_kill() {
  local name
  for name in "$@"; do crash "$name"; done
}

native_freeze() {
  local name
  for name in "$@"; do freeze "$name"; done
}

native_thaw() {
  local name
  for name in "$@"; do thaw "$name"; done
}

native_purge() {
  local folders=("$data/$1"*)
  if [[ $1 == mongodb ]]; then folders+=("$data/documentdb"*); fi
  rm -rf "${folders[@]}"
  say "$1: data deleted"
}

native_status() {
  local name
  for name in "$@"; do
    native_row "$name" "$(port_of "$name")"
    if [[ $name == mongodb ]]; then native_row documentdb ''; fi
  done
}

# native_row NAME PORT. States: up, silent (runs but does not answer), died (was not stopped by `down`), foreign (its port is held
# by what deploy/services did not start), down.
native_row() {
  local name=$1 port=$2 state pid='' memory='' by='' at=''
  if alive "$name"; then
    if "${name}_ready" >/dev/null 2>&1; then state=up; else state=silent; fi
    pid=$(pid_of "$name") memory=$(memory_of "$(pid_of "$name")")
    by=$(recorded "$name" by) at=$(recorded "$name" at)
  elif [[ -n $port ]] && port_is_held "$port"; then
    state=foreign by=$(holder_of "$port")
  elif [[ -e $run/$name.pid ]]; then
    state=died
  else
    state=down
  fi
  printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$name" "$state" "$port" "$pid" "$memory" "$by" "$at" "$run/$name.log"
}

native_logs() {
  local log=$run/$1.log
  [[ -e $log ]] || fail "$1 has no log yet: $log"
  if [[ $follow == yes ]]; then exec tail -n 100 -F "$log"; fi
  tail -n 100 "$log"
}
