#!/usr/bin/env bash
# Cuts the power of one node, and of all three, while clients write: nothing acknowledged may be lost (C7).
#
#   .ci/power-cut.sh                        five cuts of each kind
#   JARVIS_POWER_CUTS=50 .ci/power-cut.sh   more of them
#
# Needs root and loop devices; where there are none it says so, loudly, and succeeds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}"
export CARGO_TERM_COLOR=never
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

not_tested() {
    echo "!!! power cuts were NOT tested: $1"
    exit 0
}

[ "$(id -u)" -eq 0 ] || not_tested "this needs root"
for tool in losetup mkfs.ext4 mount perl umount; do
    command -v "$tool" >/dev/null || not_tested "there is no $tool"
done

# Whether loop devices work here is known only by trying one: containers often have root without them.
scratch="$(mktemp -d)"
device=""
clean_up() {
    umount --lazy "$scratch/mounted" 2>/dev/null || true
    [ -z "$device" ] || losetup --detach "$device" 2>/dev/null || true
    rm -rf "$scratch"
}
trap clean_up EXIT
mkdir "$scratch/mounted"
truncate -s 16M "$scratch/image"
mkfs.ext4 -q -F "$scratch/image" || not_tested "ext4 can not be made"
device="$(losetup --find --show "$scratch/image")" || not_tested "there is no loop device"
mount "$device" "$scratch/mounted" || not_tested "loop devices can not be mounted"
clean_up
trap - EXIT

cargo test --test t71_power_cut -- --ignored --nocapture
