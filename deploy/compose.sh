# shellcheck shell=bash disable=SC2154
# The engine Docker Compose: the same servers from docker-compose.yml, one project per offset.

# Sets `compose`, the command of Compose version 2, where there is one and its engine answers.
compose_answers() {
  command -v docker >/dev/null && timeout 5 docker info >/dev/null 2>&1 && find_compose
}

find_compose() {
  compose=(docker compose)
  if "${compose[@]}" version >/dev/null 2>&1; then return; fi
  compose=(docker-compose)
  [[ $("${compose[@]}" version --short 2>/dev/null) =~ ^v?[2-9] ]]
}

# in_project ARGUMENT...: Compose for the project of this offset, which is nobody else's.
in_project() {
  [[ -v compose ]] || find_compose || fail 'Docker Compose version 2 is lacking (docker compose, or docker-compose)'
  MONGODB_PORT=$(port_of mongodb) KAFKA_PORT=$(port_of kafka) POSTGRES_PORT=$(port_of postgres) \
    REGISTRY_PORT=$(port_of registry) "${compose[@]}" --project-name "orders-services-$offset" \
    --file "$deploy/docker-compose.yml" --profile registry "$@"
}

compose_up() {
  local name
  [[ -z $disk ]] || fail '--disk is for native servers'
  for name in "$@"; do
    if [[ -z $(container_of "$name") ]]; then refuse_held "$name" "$(port_of "$name")"; fi
  done
  if in_project up --detach --wait --wait-timeout "$((patience + 60))" "$@"; then return; fi
  in_project logs --tail 20 "$@" >&2 || true
  fail "not all of $* became healthy"
}

compose_down() {
  local name
  in_project rm --stop --force "$@"
  # The network goes with the last of them.
  if [[ -z $(in_project ps --quiet) ]]; then in_project down; fi
  [[ $purge == yes ]] || return 0
  for name in "$@"; do
    docker volume rm --force "orders-services-${offset}_$name" >/dev/null && say "$name: data deleted"
  done
}

compose_has() { [[ -n $(container_of "$1") ]]; }

compose_versions() {
  sed -n '/^ *profiles:/,$d; s/^ *image: *//p' "$deploy/docker-compose.yml" | paste -sd, | sed 's/,/, /g'
}

compose_kill() { in_project kill "$@"; }

compose_freeze() { in_project pause "$@"; }

compose_thaw() { in_project unpause "$@"; }

compose_fill() { fail 'fill is for native servers'; }

compose_clear() { compose_fill; }

container_of() { in_project ps --quiet "$1" 2>/dev/null; }

# The process id is that of the engine's machine, which is this one unless DOCKER_HOST says otherwise.
compose_status() {
  local name container state health pid at
  for name in "$@"; do
    container=$(container_of "$name") state=down health='' pid='' at=''
    if [[ -n $container ]]; then
      read -r health pid at < <(docker inspect --format '{{.State.Health.Status}} {{.State.Pid}} {{.State.StartedAt}}' "$container")
      if [[ $health == healthy ]]; then state=up; else state=silent; fi
    elif port_is_held "$(port_of "$name")"; then
      state=foreign
    fi
    printf '%s\t%s\t%s\t%s\t\t%s\t%s\t\n' "$name" "$state" "$(port_of "$name")" "$pid" \
      "${container:+Docker Compose}" "$at"
  done
}

compose_logs() {
  local options=(--tail 100)
  [[ $follow == no ]] || options+=(--follow)
  in_project logs "${options[@]}" "$1"
}
