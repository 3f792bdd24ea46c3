#!/bin/bash
# Puts each cause for which agents become unhealthy back into a copy of the sources (bench/mutants/*.patch), and sees whether
# `make prove-health` notices. A mutant that nothing notices is a hole in the proof.
#
# prove-mutants.sh [NAME ...]: only these. Needs root, as the proof does.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
target=$(mkdir -p "$target" && cd "$target" && pwd)
cargo=${CARGO:-cargo}
copy=$target/mutants/copy
bench=$target/mutants/netloom-bench

# A build of its own, so that the mutants leave nothing behind in ours.
build() { (cd "$copy" && CARGO_TARGET_DIR=$target/mutants/build "$cargo" build --quiet --locked --package netloom "$@"); }

program=$target/mutants/build/debug/netloom
rm -rf "$copy"
mkdir -p "$copy"
# Another run may have it open.
rm -f "$bench"
cp "$target/debug/netloom-bench" "$bench"
git ls-files -z | xargs -0 tar c | tar x -C "$copy"

names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    for patch in bench/mutants/*.patch; do names+=("$(basename "$patch" .patch)"); done
fi
noticed=0
missed=0
for name in "${names[@]}"; do
    patch=$PWD/bench/mutants/$name.patch
    phases=$(sed -n 's/^phases: //p' "$patch")
    if ! patch --silent --strip 1 --directory "$copy" <"$patch"; then
        echo "$name: the patch does not fit the sources any more: make it anew" >&2
        exit 1
    fi
    failpoints=()
    if [[ $phases == *workers-blocked* ]]; then
        build --features netloom/failpoints
        mv "$program" "$program-failpoints"
        failpoints=(--failpoints "$program-failpoints")
    fi
    build
    # Everything is looked at often, since a phase is short.
    # What cannot run at all (BROKEN) is not noticed: only a phase that says MISSED counts.
    said=$(NETLOOM_RELIST_SECONDS=5 unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private \
        "$bench" --netloom "$program" prove --probes 1500 --only "$phases" "${failpoints[@]}" 2>&1) || true
    if grep -q MISSED <<<"$said"; then
        noticed=$((noticed + 1))
        echo "$name: noticed"
        grep -A 1 MISSED <<<"$said" | sed 's/^/    /'
    else
        missed=$((missed + 1))
        printf '%s: NOT NOTICED in %s\n%s\n' "$name" "$phases" "$said"
    fi
    patch --silent --reverse --strip 1 --directory "$copy" <"$patch"
done
echo "check result: $noticed passed; $missed failed"
[ "$missed" -eq 0 ]
