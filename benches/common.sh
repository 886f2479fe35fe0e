# Shared by the scripts of this folder; sourced, never run.
#
# Expects `set -euo pipefail` in the caller. Every process started here is stopped by `stop_all`, which
# the caller runs in a trap; only processes started here are ever signalled.

REPOSITORY="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
BINARIES="${JARVIS_BIN_DIR:-${CARGO_TARGET_DIR:-$REPOSITORY/target}/release}"
SERVER="$BINARIES/jarvis-secretsd"
CLI="$BINARIES/jarvis-secrets"

# How long a cluster may take to serve, in seconds.
START_LIMIT=60
# `dev` ends within 10 s of SIGTERM; after this many seconds it is killed.
STOP_LIMIT=15

STARTED_PIDS=()

fail() {
    echo "error: $*" >&2
    exit 1
}

note() {
    echo "# $*" >&2
}

need_tool() {
    command -v "$1" >/dev/null 2>&1 || fail "$1 is missing; install it with: apt-get install $2"
}

need_binaries() {
    for binary in "$SERVER" "$CLI"; do
        [ -x "$binary" ] || fail "$binary is missing; build it with: cargo build --release"
    done
}

# A private folder for all data; on a real disk, or fsync costs nothing and the numbers are worthless.
make_work_dir() {
    WORK_DIR="$(mktemp -d "${1%/}/jarvis-bench.XXXXXX")"
    FILE_SYSTEM="$(stat -f -c %T "$WORK_DIR")"
    if [ "$FILE_SYSTEM" = tmpfs ]; then
        note "warning: $WORK_DIR is on tmpfs, where fsync is free; choose a disk with --dir"
    fi
}

# wait_until SECONDS TEXT COMMAND...: repeats the command until it succeeds. The command keeps quiet
# about what is merely not there yet, so that `fail` inside it is heard.
wait_until() {
    local limit="$1" text="$2"
    shift 2
    local deadline=$((SECONDS + limit))
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$text: not within $limit s; see $WORK_DIR"
        sleep 0.1
    done
}

# start_dev PORT: three nodes under `dev`; sets DEV_JSON, JARVIS_URLS and TOKEN.
start_dev() {
    local data="$WORK_DIR/jarvis"
    mkdir -p "$data"
    DEV_JSON="$data/dev.json"
    note "starting jarvis-secretsd dev, three nodes, APIs from port $1"
    "$SERVER" dev --nodes 3 --data "$data" --port "$1" >"$WORK_DIR/dev.log" 2>&1 </dev/null &
    DEV_PID=$!
    STARTED_PIDS+=("$DEV_PID")
    wait_until "$START_LIMIT" "jarvis-secretsd dev serves" dev_is_ready
    JARVIS_URLS="$(jq -r '[.nodes[].api] | join(",")' "$DEV_JSON")"
    TOKEN="$(jq -r .root_token "$DEV_JSON")"
}

dev_is_ready() {
    kill -0 "$DEV_PID" 2>/dev/null || fail "jarvis-secretsd dev ended; see $WORK_DIR/dev.log"
    [ "$(jq -r .ready "$DEV_JSON" 2>/dev/null)" = true ]
}

# The bench against jarvis. The token travels in the environment, where `ps` does not show it, and
# nothing of the caller's own environment points elsewhere.
bench_jarvis() {
    env -u JARVIS_CLIENT_ID -u JARVIS_SECRETS_CACERT -u JARVIS_SECRETS_CERT -u JARVIS_SECRETS_KEY \
        JARVIS_SECRETS_URL="$JARVIS_URLS" JARVIS_SECRETS_TOKEN="$TOKEN" \
        "$CLI" bench "$@"
}

stop_all() {
    local pid
    for pid in "${STARTED_PIDS[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    local deadline=$((SECONDS + STOP_LIMIT))
    for pid in "${STARTED_PIDS[@]}"; do
        while kill -0 "$pid" 2>/dev/null && [ "$SECONDS" -lt "$deadline" ]; do
            sleep 0.1
        done
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    STARTED_PIDS=()
}

# Stops everything and removes the data; after a failure the data stays, to be looked at.
clean_up() {
    local code=$?
    trap - EXIT INT TERM
    stop_all
    if [ -n "${WORK_DIR:-}" ]; then
        if [ "$code" -eq 0 ]; then
            rm -rf "$WORK_DIR"
        else
            note "data and logs stay in $WORK_DIR"
        fi
    fi
    exit "$code"
}

clean_up_on_exit() {
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

print_conditions() {
    echo "- machine: $(nproc) cores, $(uname -sr), data on $FILE_SYSTEM"
    echo "- jarvis-secretsd: $("$SERVER" --version 2>/dev/null || echo unknown), commit $(git -C "$REPOSITORY" rev-parse --short HEAD 2>/dev/null || echo unknown)"
}
