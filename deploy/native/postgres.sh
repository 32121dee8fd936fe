# shellcheck shell=bash disable=SC2154
# PostgreSQL for the read store: the machine's own from version 15 on, else the one of the chroot. Durable as delivered
# (fsync, synchronous_commit), on 127.0.0.1 alone; user, password and database are all `orders`.

readonly oldest_postgres=15

postgres_install() {
  if machine_postgres >/dev/null; then return; fi
  if ((EUID != 0)); then fail "postgres lacks PostgreSQL $oldest_postgres or newer (Debian's package postgresql)"; fi
  documentdb_install
}

# The folder of the programs of the machine's newest PostgreSQL that will do.
machine_postgres() {
  local bin path
  path=$(command -v initdb) || true
  for bin in "$(dirname "$(readlink -f "${path:-/}")")" $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV); do
    [[ -x $bin/initdb && -x $bin/postgres && -x $bin/psql ]] || continue
    (($(major_of "$bin/postgres") >= oldest_postgres)) || continue
    echo "$bin" && return
  done
  return 1
}

major_of() { "$1" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/'; }

# It refuses to run as root: then it runs as Debian's user for it, or as the one which owns nothing.
find_postgres() {
  postgres_root=/ postgres_user=$(id -un)
  if postgres_bin=$(machine_postgres); then
    postgres_data=$data/postgres-$(major_of "$postgres_bin/postgres")
    if ((EUID == 0)); then postgres_user=$(id -un postgres 2>/dev/null || echo nobody); fi
  else
    postgres_root=$debian postgres_user=postgres postgres_bin=$(documentdb_bin)
    postgres_data=$data/postgres-$(basename "$(dirname "$postgres_bin")")
  fi
}

postgres_run() { run_inside "$postgres_root" "$postgres_user" "$postgres_bin/$1" "${@:2}"; }

# A replica has up to 18 connections, and those of a killed one go when the server notices: 100, as delivered, are soon too few. On a busy
# machine initdb takes even 20, and hardly a buffer.
postgres_start() {
  find_postgres
  postgres_prepare || return 1
  start_postgres postgres "$postgres_root" "$postgres_user" "$postgres_bin" "$postgres_data" \
    listen_addresses=127.0.0.1 "port=$(port_of postgres)" unix_socket_directories= max_connections=400 shared_buffers=128MB
}

# start_postgres NAME ROOT USER BIN DATA SETTING...
start_postgres() {
  local name=$1 root=$2 user=$3 bin=$4 folder=$5 setting settings=()
  for setting in "${@:6}"; do settings+=(-c "$setting"); done
  clear_after_crash "$name" "$folder" || return 1
  launch_inside "$name" "$root" "$user" "$bin/postgres" -D "$(seen "$folder")" "${settings[@]}"
}

# After a kill -9 of the server its children live on until they notice. When the last one is gone, the lock files must go too:
# their process may still be there as a zombie, if whoever should reap it takes his time, and a new server would take it for alive.
clear_after_crash() {
  local began=$SECONDS
  [[ -e $2/postmaster.pid ]] || return 0
  while somebody_works_in "$2"; do
    if ((SECONDS - began > 15)); then say "$1: processes of its last run still work in $2" && return 1; fi
    sleep 0.1
  done
  rm -f "$2/postmaster.pid" "$2"/.s.PGSQL.*.lock
}

# Every process of PostgreSQL has its data as working folder; compared by file, as each mount namespace has its own name for it.
somebody_works_in() {
  local process
  for process in /proc/[0-9]*/cwd; do
    if [[ $process/. -ef $1 ]]; then return; fi
  done 2>/dev/null
  return 1
}

# It becomes the data folder when it is whole.
postgres_prepare() {
  if [[ -d $postgres_data ]]; then return; fi
  rm -rf "$postgres_data.new" "$run/postgres-password"
  install -d -m 700 "$postgres_data.new"
  echo orders >"$run/postgres-password"
  give "$postgres_user" "$postgres_root" "$postgres_data.new"
  step 'postgres: initdb' "$run/postgres-initdb.log" postgres_init || return 1
  mv "$postgres_data.new" "$postgres_data"
}

postgres_init() {
  postgres_run initdb --pgdata "$(seen "$postgres_data.new")" --username orders --pwfile "$(seen "$run/postgres-password")" \
    --auth scram-sha-256 --encoding UTF8 --locale C.UTF-8 || return 1
  postgres_run postgres --single -D "$(seen "$postgres_data.new")" postgres < <(echo 'CREATE DATABASE orders')
}

postgres_ready() {
  find_postgres
  PGPASSWORD=orders PGCONNECT_TIMEOUT=3 postgres_run psql --no-psqlrc --quiet --tuples-only --command 'SELECT 1' \
    "host=127.0.0.1 port=$(port_of postgres) user=orders dbname=orders"
}

# SIGINT is PostgreSQL's fast shutdown: it rolls back what runs and writes a checkpoint.
postgres_stop() { stop postgres INT; }
