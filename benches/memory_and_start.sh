#!/usr/bin/env bash
# Resident memory of each node with 1,000 secrets of 1 KiB in 3 versions, and the time that a killed node
# needs from the start of its process to /readyz 200. Exits with 1 when a number misses its target.
# See README.md in this folder for what the numbers mean.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

SECRETS=1000
VALUE_BYTES=1024
VERSIONS=3
RESTARTS=5
PORT=18181
DIRECTORY="${TMPDIR:-/tmp}"

# The targets: less than 100 MB, less than 2 s.
MEMORY_LIMIT_KIB=$((100 * 1000 * 1000 / 1024))
START_LIMIT_MS=2000

usage() {
    echo "usage: memory_and_start.sh [--restarts $RESTARTS] [--port $PORT] [--dir $DIRECTORY]"
}

while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help) usage; exit 0 ;;
    esac
    [ $# -ge 2 ] || { usage >&2; exit 2; }
    case "$1" in
        --restarts) RESTARTS="$2" ;;
        --port) PORT="$2" ;;
        --dir) DIRECTORY="$2" ;;
        *) usage >&2; exit 2 ;;
    esac
    shift 2
done

need_tool jq jq
need_tool curl curl
need_binaries
[ -r /proc/self/status ] || fail "this script reads /proc: it needs Linux"
make_work_dir "$DIRECTORY"
clean_up_on_exit

TICKS_PER_SECOND="$(getconf CLK_TCK)"

node_field() { jq -r ".nodes[$1].$2" "$DEV_JSON"; }

api_get() { curl -fsS --noproxy '*' -m 5 -H "@$WORK_DIR/headers" "$1"; }

is_ready() { curl -fsS --noproxy '*' -m 1 -o /dev/null "$1/readyz"; }

# Milliseconds since boot; the clock that process start times are given in.
now_ms() { awk '{printf "%d", $1 * 1000}' /proc/uptime; }

# Milliseconds since boot at which a process started: field 22 of stat, the 20th after the name.
process_start_ms() {
    sed 's/.*) //' "/proc/$1/stat" | awk -v ticks="$TICKS_PER_SECOND" '{printf "%d", $20 * 1000 / ticks}'
}

status_kib() { awk -v key="$2:" '$1 == key {print $2}' "/proc/$1/status"; }

# The handle names the new process within a second of its start.
has_new_pid() { [ "$(node_field "$1" pid)" != "$2" ] && kill -0 "$(node_field "$1" pid)" 2>/dev/null; }

start_dev "$PORT"
(umask 077 && printf 'Authorization: Bearer %s\n' "$TOKEN" >"$WORK_DIR/headers")

note "writing $SECRETS secrets of $VALUE_BYTES bytes, $VERSIONS versions each"
for _ in $(seq "$VERSIONS"); do
    bench_jarvis --clients 16 --keys "$SECRETS" --value-bytes "$VALUE_BYTES" --prepare-only
done

first_api="$(node_field 0 api)"
counted="$(api_get "$first_api/healthz" | jq .secrets_count)"
[ "$counted" -ge "$SECRETS" ] || fail "the server counts $counted secrets, not $SECRETS"
versions="$(api_get "$first_api/secret/bench%2F000000/versions" | jq '.versions | length')"
[ "$versions" -eq "$VERSIONS" ] || fail "a secret has $versions versions, not $VERSIONS"

echo "# Memory and start"
echo
print_conditions
echo
echo "| node | resident, serving | peak | resident, after its restart |"
echo "|---|---|---|---|"

missed=0
nodes="$(jq '.nodes | length' "$DEV_JSON")"
declare -a before_kib peak_kib start_samples
for ((node = 0; node < nodes; node++)); do
    pid="$(node_field "$node" pid)"
    before_kib[node]="$(status_kib "$pid" VmRSS)"
    peak_kib[node]="$(status_kib "$pid" VmHWM)"
    [ "${before_kib[node]}" -lt "$MEMORY_LIMIT_KIB" ] || missed=1
done

for ((restart = 0; restart < RESTARTS; restart++)); do
    node=$((restart % nodes))
    api="$(node_field "$node" api)"
    old_pid="$(node_field "$node" pid)"
    grep -q jarvis-secretsd "/proc/$old_pid/cmdline" || fail "process $old_pid is no node"
    note "restart $((restart + 1)) of $RESTARTS: killing node $((node + 1))"
    kill -KILL "$old_pid"
    deadline=$((SECONDS + START_LIMIT))
    until is_ready "$api" 2>/dev/null; do
        [ "$SECONDS" -lt "$deadline" ] || fail "node $((node + 1)) is not ready within $START_LIMIT s"
        sleep 0.005
    done
    ready_ms="$(now_ms)"
    wait_until "$START_LIMIT" "dev.json names the new process" has_new_pid "$node" "$old_pid"
    started_ms="$(process_start_ms "$(node_field "$node" pid)")"
    [ "$ready_ms" -ge "$started_ms" ] || fail "the killed process still answered: measure again"
    start_samples+=($((ready_ms - started_ms)))
done

for ((node = 0; node < nodes; node++)); do
    if [ "$node" -lt "$RESTARTS" ]; then
        after="$(status_kib "$(node_field "$node" pid)" VmRSS)"
        [ "$after" -lt "$MEMORY_LIMIT_KIB" ] || missed=1
        after="$(awk -v kib="$after" 'BEGIN {printf "%.1f MB", kib * 1.024 / 1000}')"
    else
        after="not restarted"
    fi
    awk -v node=$((node + 1)) -v now="${before_kib[node]}" -v peak="${peak_kib[node]}" -v after="$after" \
        'BEGIN {printf "| %d | %.1f MB | %.1f MB | %s |\n", node, now * 1.024 / 1000, peak * 1.024 / 1000, after}'
done

if [ "${#start_samples[@]}" -gt 0 ]; then
    mapfile -t sorted < <(printf '%s\n' "${start_samples[@]}" | sort -n)
    median="${sorted[$((${#sorted[@]} / 2))]}"
    slowest="${sorted[${#sorted[@]} - 1]}"
    [ "$slowest" -lt "$START_LIMIT_MS" ] || missed=1
    echo
    echo "From the start of the process to \`/readyz\` 200, ${#sorted[@]} restarts after kill -9: median $median ms, slowest $slowest ms (to about 20 ms)."
fi

echo
if [ "$missed" -eq 0 ]; then
    echo "Targets met: every node below 100 MB, every start below 2 s."
else
    echo "Target missed: the limits are 100 MB and 2 s."
    exit 1
fi
