# shellcheck shell=bash disable=SC2154
# Native processes: start one that outlives this script, recognise it later, stop it. Knows nothing of any server.
# Uses $home, $run (pid files and logs of this offset) and $patience (seconds).

# launch NAME COMMAND...: starts it in a session of its own and writes down its process id.
launch() {
  local name=$1 log=$run/$1.log
  shift
  if [[ -e $log ]]; then mv "$log" "$log.1"; fi
  # In a script, a job leads no process group: so setsid forks no second process, and it and everything it becomes by exec
  # keep this process id. Without descriptor 9 closed the server would hold the lock of this script for ever.
  setsid "$@" </dev/null >"$log" 2>&1 9>&- &
  record "$name" $!
}

# launch_inside NAME ROOT USER COMMAND...: the same, as another user, with ROOT as / and $home at /mnt.
launch_inside() {
  local name=$1 inside
  shift
  mapfile -d '' -t inside < <(inside "$@")
  launch "$name" "${inside[@]}"
}

# run_inside ROOT USER COMMAND...: runs it in the foreground as launch_inside would.
run_inside() {
  local inside
  mapfile -d '' -t inside < <(inside "$@")
  "${inside[@]}"
}

# The mounts live in a namespace of the command's own: they end with it, even by kill -9, and nobody else sees them.
# Whoever isn't root stays himself, with his own /.
inside() {
  if ((EUID == 0)); then
    printf '%s\0' unshare --mount --propagation private "$native/inside" "$home" "$@"
  else
    printf '%s\0' "${@:3}"
  fi
}

# The path under $home as a command started by launch_inside sees it.
seen() { if ((EUID == 0)); then echo "/mnt/${1#"$home"/}"; else echo "$1"; fi; }

# give USER ROOT PATH: the user's ids are those in that root's own password file.
give() {
  if ((EUID != 0)); then return; fi
  local ids
  ids=$(awk -F: -v user="$1" '$1 == user { print $3 ":" $4 }' "$2/etc/passwd")
  chown -R "$ids" "$3"
}

# A process id alone may be another process by now; with its start (in ticks since boot) and the boot it is unique.
record() {
  cat >"$run/$1.pid.new" <<END
pid=$2
start=$(start_of "$2")
boot=$(</proc/sys/kernel/random/boot_id)
by=deploy/services as $(id -un)
at=$(date -u +%Y-%m-%dT%H:%M:%SZ)
END
  mv "$run/$1.pid.new" "$run/$1.pid"
}

# Field NUMBER of /proc/PID/stat, counted after the command's name, which stands in brackets and may hold spaces.
stat_of() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  awk -v field="$2" '{ print $field }' <<<"${stat##*) }"
}

start_of() { stat_of "$1" 20; }

recorded() { sed -n "s/^$2=//p" "$run/$1.pid" 2>/dev/null || true; }

pid_of() { recorded "$1" pid; }

alive() {
  local pid
  pid=$(pid_of "$1")
  [[ -n $pid && $(recorded "$1" boot) == "$(</proc/sys/kernel/random/boot_id)" &&
    $(recorded "$1" start) == "$(start_of "$pid")" &&
    $(stat_of "$pid" 1) != Z ]]
}

# stop NAME SIGNAL: the signal that the server takes as "finish and go"; after 30 s it is killed.
stop() {
  local name=$1 pid began=$SECONDS
  pid=$(pid_of "$name")
  if ! alive "$name"; then
    say "$name: none that deploy/services started runs"
    rm -f "$run/$name.pid"
    return
  fi
  kill -s "$2" "$pid" || true
  # One that was frozen takes no signal until it goes on; one that was not may be gone by now.
  signal_all CONT "$pid" 2>/dev/null || true
  while alive "$name" && ((SECONDS - began < 30)); do sleep 0.1; done
  if alive "$name"; then
    say "$name: did not stop within 30 s; killing it"
    kill -s KILL "$pid"
    while alive "$name"; do sleep 0.1; done
  fi
  rm -f "$run/$name.pid"
  say "$name: stopped (process $pid)"
}

# crash NAME: ends it and all that it has started, at once. Its first thread may be over before the others, which hold its port.
crash() {
  local pid
  pid=$(pid_of "$1")
  freeze "$1"
  signal_all KILL "$pid"
  while alive "$1" || compgen -G "/proc/$pid/task/*/fd/*" >/dev/null; do sleep 0.01; done
}

# freeze NAME: itself first, so that it starts no more while the others are found.
freeze() {
  alive "$1" || fail "$1: none that deploy/services started runs"
  kill -s STOP "$(pid_of "$1")"
  signal_all STOP "$(pid_of "$1")"
}

thaw() {
  alive "$1" || fail "$1: none that deploy/services started runs"
  signal_all CONT "$(pid_of "$1")"
}

# signal_all SIGNAL PID: a process and its children. A child may end in between.
signal_all() {
  local child
  for child in $(children_of "$2"); do kill -s "$1" "$child" 2>/dev/null || true; done
  kill -s "$1" "$2"
}

children_of() { cat "/proc/$1/task/"*/children 2>/dev/null || true; }

# await NAME COMMAND...: until the command succeeds, at most $patience; fails at once when the server has ended.
await() {
  local name=$1 began=$SECONDS
  shift
  until "$@" >/dev/null 2>&1; do
    if ! alive "$name"; then
      say "$name: ended before it answered; the end of $run/$name.log:"
    elif ((SECONDS - began >= patience)); then
      say "$name: no answer within $patience s; the end of $run/$name.log:"
    else
      sleep 0.1
      continue
    fi
    tail -n 20 "$run/$name.log" >&2
    return 1
  done
}

# Memory of a process and its children in KiB; what several of them share is counted once (PSS).
memory_of() {
  local pid
  for pid in "$1" $(children_of "$1"); do
    cat "/proc/$pid/smaps_rollup" 2>/dev/null || true
  done | awk '/^Pss:/ { sum += $2 } END { if (sum) print sum }'
}

port_is_held() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# refuse_held NAME PORT: for a server that is not ours to be started there.
refuse_held() {
  if port_is_held "$2"; then fail "$1: port $2 is held by $(holder_of "$2"), which deploy/services did not start"; fi
}

# Who listens there, as "java (process 123)"; "somebody" where that can't be seen.
holder_of() {
  local users
  users=$(ss -Hltnp "sport = :$1" 2>/dev/null | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/\1 (process \2)/p') || true
  users=${users%%$'\n'*}
  echo "${users:-somebody}"
}
