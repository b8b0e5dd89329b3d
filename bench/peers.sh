#!/bin/bash
# The brokers that EscrowMQ is measured beside.
#
#   bench/peers.sh list                        which are here, and which not and why
#   bench/peers.sh install                     Debian's packages of all of them (needs root)
#   bench/peers.sh version NAME                the version, or on stderr why it cannot run (exit 1)
#   bench/peers.sh run NAME FOLDER PORT P2 P3  runs a server until standard input ends
#
# A server runs with its defaults, listens on 127.0.0.1 only, and keeps everything below FOLDER, which
# is removed at the end; P2 and P3 are for those that need more ports. It lives as long as this script's
# standard input: whoever started it may die in any way, and nothing is left running.
set -eu

names="nats nats-fsync redis redis-fsync rabbitmq postgresql"
rabbitmq=/usr/lib/rabbitmq/bin/rabbitmq-server

absent() {
  echo "$1" >&2
  exit 1
}

in_path() {
  command -v "$1" >/dev/null || absent "$1 is not installed (bench/peers.sh install)"
}

# Debian keeps PostgreSQL's programs out of the path.
postgresql_bin() {
  local found
  found=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
  if [ -n "$found" ]; then echo "$found"; else dirname "$(command -v postgres || echo ./none)"; fi
}

version() {
  case $1 in
    nats)
      in_path nats-server
      nats-server --version | sed 's/.*v//'
      ;;
    nats-fsync)
      in_path nats-server
      local try
      try=$(mktemp)
      printf 'jetstream { sync_interval: always }\n' >"$try"
      if ! nats-server -t -c "$try" >/dev/null 2>&1; then
        rm "$try"
        absent "nats-server $(version nats) has no sync_interval: always (2.10 and later have)"
      fi
      rm "$try"
      version nats
      ;;
    redis | redis-fsync)
      in_path redis-server
      redis-server --version | sed 's/.*v=\([^ ]*\).*/\1/'
      ;;
    rabbitmq)
      [ -x $rabbitmq ] || absent "rabbitmq-server is not installed (bench/peers.sh install)"
      ls -d /usr/lib/rabbitmq/lib/rabbitmq_server-* | sed 's/.*-//'
      ;;
    postgresql)
      [ -x "$(postgresql_bin)/postgres" ] || absent "postgresql is not installed (bench/peers.sh install)"
      [ "$(id -u)" != 0 ] || id postgres >/dev/null 2>&1 || absent "there is no user postgres to run it"
      "$(postgresql_bin)/postgres" --version | sed 's/[^0-9]*\([0-9.]*\).*/\1/'
      ;;
    *) absent "unknown server $1: one of $names" ;;
  esac
}

start_nats() {
  printf 'listen: "127.0.0.1:%s"\njetstream { store_dir: "%s" %s }\n' "$port" "$folder" "$1" \
    >"$folder/nats.conf"
  start nats-server -c "$folder/nats.conf"
}

start_redis() {
  start redis-server --bind 127.0.0.1 --port "$port" --dir "$folder" --appendonly yes --appendfsync "$1"
}

start_rabbitmq() {
  printf 'listeners.tcp.1 = 127.0.0.1:%s\n' "$port" >"$folder/rabbitmq.conf"
  export HOME="$folder" ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$port2"
  export RABBITMQ_CONFIG_FILE="$folder/rabbitmq.conf" RABBITMQ_CONF_ENV_FILE=/dev/null
  export RABBITMQ_NODENAME=bench@localhost RABBITMQ_DIST_PORT="$port3"
  export RABBITMQ_MNESIA_BASE="$folder/mnesia" RABBITMQ_LOG_BASE="$folder/log"
  export RABBITMQ_ENABLED_PLUGINS_FILE="$folder/plugins" RABBITMQ_PID_FILE="$folder/pid"
  export RABBITMQ_FEATURE_FLAGS_FILE="$folder/feature_flags"
  export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
  # An Erlang node that finds none starts one that outlives it.
  start epmd -port "$port2" -address 127.0.0.1
  until (echo >"/dev/tcp/127.0.0.1/$port2") 2>/dev/null; do sleep 0.05; done
  start $rabbitmq
}

start_postgresql() {
  local bin as=""
  bin=$(postgresql_bin)
  # It refuses to run as root.
  if [ "$(id -u)" = 0 ]; then
    as="setpriv --reuid=postgres --regid=postgres --clear-groups"
    chown postgres "$folder"
    # The folders above may be closed to that user.
    cd /
  fi
  $as "$bin/initdb" -D "$folder/data" -U postgres --auth=trust >"$folder/log.initdb" 2>&1
  start $as "$bin/postgres" -D "$folder/data" -p "$port" -c listen_addresses=127.0.0.1 -k "$folder"
}

groups=""
# In a process group of its own, so that all that it starts can be ended.
start() {
  setsid "$@" </dev/null >>"$folder/log.txt" 2>&1 &
  groups="$groups $!"
}

stop() {
  local group
  for group in $groups; do kill -TERM -- "-$group" 2>/dev/null || true; done
  for _ in $(seq 50); do
    still_there || break
    sleep 0.1
  done
  for group in $groups; do kill -KILL -- "-$group" 2>/dev/null || true; done
  rm -rf "$folder"
}

still_there() {
  local group
  for group in $groups; do if kill -0 -- "-$group" 2>/dev/null; then return 0; fi; done
  return 1
}

run() {
  folder=$2 port=$3 port2=$4 port3=$5
  version "$1" >/dev/null
  trap stop EXIT
  trap 'exit 0' INT TERM HUP
  case $1 in
    nats) start_nats "" ;;
    nats-fsync) start_nats "sync_interval: always" ;;
    redis) start_redis everysec ;;
    redis-fsync) start_redis always ;;
    rabbitmq) start_rabbitmq ;;
    postgresql) start_postgresql ;;
  esac
  cat >/dev/null
}

case ${1:-} in
  list)
    for name in $names; do
      printf '%-12s %s\n' "$name" "$(version "$name" 2>&1)"
    done
    ;;
  install) apt-get install --yes --no-install-recommends nats-server redis-server rabbitmq-server postgresql ;;
  version) version "$2" ;;
  run) shift && run "$@" ;;
  *)
    sed -n '2,8s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
