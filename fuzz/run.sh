#!/bin/sh
# Fuzzes each target for some seconds: with cargo-fuzz where that and a nightly compiler are installed, else with mutations
# that need neither. SECONDS is the first argument.
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
targets=$(ls corpus)
if cargo +nightly fuzz --version >/dev/null 2>&1; then
    for target in $targets; do
        # What libFuzzer keeps goes to the first directory; the corpus stays as it is committed.
        mkdir -p "found/$target"
        cargo +nightly fuzz run --fuzz-dir . --features libfuzzer "$target" "found/$target" "corpus/$target" -- \
            -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1
    done
else
    echo "cargo-fuzz or a nightly compiler is missing (cargo install cargo-fuzz; rustup toolchain install nightly):"
    echo "mutating the corpus without looking at what inputs reach"
    cargo build --release --locked --bin netloom-fuzz
    for target in $targets; do
        "${CARGO_TARGET_DIR:-target}/release/netloom-fuzz" "$target" "$seconds"
    done
fi
