#!/usr/bin/env bash
# Compares jarvis-secretsd with etcd: three nodes each on this machine, loopback, plain HTTP, fsync on,
# default settings, the same load generator, runs that alternate so that both see the same minutes.
# Prints the medians as a Markdown table. See README.md in this folder for what the numbers mean.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ROUNDS=3
DURATION=10s
WARM_UP=1s
CONNECTIONS="1 64 256"
VALUE_BYTES=256
KEYS=1000
JARVIS_PORT=18081
ETCD_PORT=12379
DIRECTORY="${TMPDIR:-/tmp}"
RESULTS=""

usage() {
    cat <<TEXT
usage: compare_etcd.sh [--rounds $ROUNDS] [--duration $DURATION] [--connections "$CONNECTIONS"]
                       [--value-bytes $VALUE_BYTES] [--keys $KEYS] [--dir $DIRECTORY]
                       [--jarvis-port $JARVIS_PORT] [--etcd-port $ETCD_PORT] [--results FILE]
  --dir      where the data of both goes: a real disk
  --results  keep every run's numbers as JSON lines
jarvis takes 3 ports from --jarvis-port and 3 from 1000 above; etcd takes 6 from --etcd-port.
TEXT
}

while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help) usage; exit 0 ;;
    esac
    [ $# -ge 2 ] || { usage >&2; exit 2; }
    case "$1" in
        --rounds) ROUNDS="$2" ;;
        --duration) DURATION="$2" ;;
        --connections) CONNECTIONS="$2" ;;
        --value-bytes) VALUE_BYTES="$2" ;;
        --keys) KEYS="$2" ;;
        --dir) DIRECTORY="$2" ;;
        --jarvis-port) JARVIS_PORT="$2" ;;
        --etcd-port) ETCD_PORT="$2" ;;
        --results) RESULTS="$2" ;;
        *) usage >&2; exit 2 ;;
    esac
    shift 2
done

need_tool etcd etcd-server
need_tool jq jq
need_tool curl curl
need_binaries
make_work_dir "$DIRECTORY"
clean_up_on_exit
RESULTS="${RESULTS:-$WORK_DIR/results.jsonl}"
: >"$RESULTS"

etcd_client_port() { echo $((ETCD_PORT + 2 * $1)); }
etcd_peer_port() { echo $((ETCD_PORT + 2 * $1 + 1)); }

etcd_is_healthy() {
    kill -0 "$2" 2>/dev/null || fail "etcd node $1 ended; see $WORK_DIR/etcd$1.log"
    curl -fsS --noproxy '*' -m 2 "http://127.0.0.1:$(etcd_client_port "$1")/health" 2>/dev/null |
        grep -q '"true"'
}

start_etcd() {
    note "starting etcd, three nodes, ports from $ETCD_PORT"
    local members="" node pid
    for node in 0 1 2; do
        members="$members${members:+,}etcd$node=http://127.0.0.1:$(etcd_peer_port "$node")"
    done
    # etcd 3.4 refuses to start on other machines than amd64 unless told so; it changes nothing else.
    case "$(uname -m)" in
        aarch64) export ETCD_UNSUPPORTED_ARCH=arm64 ;;
    esac
    local pids=()
    for node in 0 1 2; do
        etcd --name "etcd$node" \
            --data-dir "$WORK_DIR/etcd$node" \
            --listen-client-urls "http://127.0.0.1:$(etcd_client_port "$node")" \
            --advertise-client-urls "http://127.0.0.1:$(etcd_client_port "$node")" \
            --listen-peer-urls "http://127.0.0.1:$(etcd_peer_port "$node")" \
            --initial-advertise-peer-urls "http://127.0.0.1:$(etcd_peer_port "$node")" \
            --initial-cluster "$members" \
            --initial-cluster-state new \
            --initial-cluster-token jarvis-bench \
            >"$WORK_DIR/etcd$node.log" 2>&1 </dev/null &
        pid=$!
        pids+=("$pid")
        STARTED_PIDS+=("$pid")
    done
    ETCD_URLS=""
    for node in 0 1 2; do
        wait_until "$START_LIMIT" "etcd node $node is healthy" etcd_is_healthy "$node" "${pids[$node]}"
        ETCD_URLS="$ETCD_URLS${ETCD_URLS:+,}http://127.0.0.1:$(etcd_client_port "$node")"
    done
}

bench_etcd() {
    env -u JARVIS_SECRETS_TOKEN -u JARVIS_SECRETS_CERT -u JARVIS_SECRETS_KEY \
        JARVIS_SECRETS_URL="$ETCD_URLS" "$CLI" bench --engine etcd "$@"
}

# run_one ENGINE OPERATION CONNECTIONS ROUND: one measurement, one line in the results.
run_one() {
    local flags=(--clients "$3" --mix "$2=1" --duration "$DURATION" --warm-up "$WARM_UP"
        --value-bytes "$VALUE_BYTES" --keys "$KEYS" --json)
    note "round $4 of $ROUNDS: $1, $2, $3 connections"
    "bench_$1" "${flags[@]}" |
        jq -c --argjson round "$4" \
            '{round: $round, engine, clients} + .operations[0] + {errors, unsent}' >>"$RESULTS"
}

start_etcd
start_dev "$JARVIS_PORT"

for round in $(seq "$ROUNDS"); do
    for connections in $CONNECTIONS; do
        for operation in read write; do
            # The order turns with each round, so that neither always runs on a warmer disk.
            if [ $((round % 2)) -eq 1 ]; then engines="jarvis etcd"; else engines="etcd jarvis"; fi
            for engine in $engines; do
                run_one "$engine" "$operation" "$connections" "$round"
            done
        done
    done
done

echo "# jarvis-secretsd and etcd, medians of $ROUNDS alternating rounds of $DURATION"
echo
print_conditions
echo "- etcd: $(etcd --version | head -n 1), HTTP/JSON gateway"
echo "- both: 3 nodes and the load generator on this machine, plain HTTP, fsync on, default settings, $KEYS keys, $VALUE_BYTES-byte values, linearizable reads; jarvis audits every request"
echo
echo "| operation | connections | jarvis OK/s | p50 ms | p99 ms | etcd OK/s | p50 ms | p99 ms | ratio | failed (jarvis, etcd) |"
echo "|---|---|---|---|---|---|---|---|---|---|"
jq -rs '
    def median: sort | if length == 0 then 0
        elif length % 2 == 1 then .[length / 2 | floor]
        else (.[length / 2 - 1] + .[length / 2]) / 2 end;
    def rounded($digits): . * pow(10; $digits) | round / pow(10; $digits);
    def of($engine): map(select(.engine == $engine));
    group_by([.operation, .clients])[]
    | {operation: .[0].operation, clients: .[0].clients, jarvis: of("jarvis"), etcd: of("etcd")}
    | (.jarvis | map(.per_second) | median) as $ours
    | (.etcd | map(.per_second) | median) as $theirs
    | "| \(.operation) | \(.clients) | \($ours | round) | \(.jarvis | map(.p50_ms) | median | rounded(2)) | \(.jarvis | map(.p99_ms) | median | rounded(2)) | \($theirs | round) | \(.etcd | map(.p50_ms) | median | rounded(2)) | \(.etcd | map(.p99_ms) | median | rounded(2)) | \(if $theirs > 0 then $ours / $theirs | rounded(2) else "-" end) | \(.jarvis | map(.failed) | add), \(.etcd | map(.failed) | add) |"
' "$RESULTS"
echo
echo "Each number comes from one of these commands, with JARVIS_SECRETS_URL naming all three nodes:"
echo
echo '```'
for operation in read write; do
    for engine in jarvis etcd; do
        echo "jarvis-secrets bench --engine $engine --clients N --mix $operation=1 --duration $DURATION --warm-up $WARM_UP --value-bytes $VALUE_BYTES --keys $KEYS --json"
    done
done
echo '```'
