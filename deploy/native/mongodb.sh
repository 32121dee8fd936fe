# shellcheck shell=bash disable=SC2154
# MongoDB's wire protocol: FerretDB over a PostgreSQL with the DocumentDB extension, which only listens on a Unix socket in its data
# folder. Both run in the chroot as its user postgres. No password, no multi-document transactions, no change streams.

ferretdb_version=$(sed -n 's:^require github.com/FerretDB/FerretDB/v2 v::p' "$native/ferretdb/go.mod")
ferretdb=$home/ferretdb-$ferretdb_version/ferretdb
readonly documentdb_package=postgresql-18-documentdb

documentdb_install() { install_in_debian mongodb "$documentdb_package"; }

documentdb_bin() { echo /usr/lib/postgresql/18/bin; }

documentdb_run() { run_inside "$debian" postgres "$(documentdb_bin)/$1" "${@:2}"; }

documentdb_data() { echo "$data/documentdb-18"; }

# The extension connects to its own server, by default over TCP to `localhost`: that would be the read store's server.
documentdb_start() {
  local folder
  documentdb_prepare || return 1
  folder=$(seen "$(documentdb_data)")
  start_postgres documentdb "$debian" postgres "$(documentdb_bin)" "$(documentdb_data)" \
    listen_addresses= "unix_socket_directories=$folder" "documentdb.localhost_connection_string=host=$folder" \
    shared_preload_libraries=pg_cron,pg_documentdb_core,pg_documentdb max_worker_processes=16 \
    cron.database_name=postgres cron.use_background_workers=on cron.log_run=off cron.log_statement=off
}

documentdb_prepare() {
  local folder
  folder=$(documentdb_data)
  if [[ -d $folder ]]; then return; fi
  rm -rf "$folder.new"
  install -d -m 700 "$folder.new"
  give postgres "$debian" "$folder.new"
  step 'mongodb: initdb' "$run/documentdb-initdb.log" documentdb_run initdb --pgdata "$(seen "$folder.new")" \
    --username postgres --auth trust --encoding UTF8 --locale C.UTF-8 || return 1
  mv "$folder.new" "$folder"
}

documentdb_ready() { documentdb_sql 'SELECT 1'; }

documentdb_sql() {
  documentdb_run psql --no-psqlrc --quiet --tuples-only --command "$1" "host=$(seen "$(documentdb_data)") user=postgres dbname=postgres connect_timeout=3"
}

documentdb_stop() { stop documentdb INT; }

mongodb_install() {
  check_chroot mongodb
  side_by_side native_install documentdb ferretdb
}

ferretdb_install() {
  if [[ -x $ferretdb ]]; then return; fi
  need mongodb go golang-go
  local minor
  minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
  # From 1.21 on go fetches the newer toolchain that a module asks for.
  ((minor >= 21)) || fail "mongodb lacks Go 1.21 or newer: the go on the PATH is 1.$minor"
  step "mongodb: FerretDB $ferretdb_version with go" "$home/log/go-ferretdb.log" \
    env CGO_ENABLED=0 go build -C "$native/ferretdb" -trimpath -buildvcs=false -o "$ferretdb.new" . || return 1
  mv "$ferretdb.new" "$ferretdb"
}

# Run when its DocumentDB answers. The extension is created here and not with the data folder, because it needs the server.
mongodb_start() {
  step 'mongodb: the DocumentDB extension' "$run/documentdb-extension.log" \
    documentdb_sql 'CREATE EXTENSION IF NOT EXISTS documentdb CASCADE' || return 1
  mkdir -p "$data/mongodb"
  give postgres "$debian" "$data/mongodb"
  launch_inside mongodb "$debian" postgres "$(seen "$ferretdb")" \
    "postgres://postgres@/postgres?host=$(seen "$(documentdb_data)")" "127.0.0.1:$(port_of mongodb)" "$(seen "$data/mongodb")"
}

mongodb_ready() { mongodb_pong "$(port_of mongodb)"; }

mongodb_stop() { stop mongodb TERM; }
