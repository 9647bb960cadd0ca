# Shared by the scripts in tools/ and by .ci/run; sourced, never run. Leaves the caller in the repository's root.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Where tools/setup unpacks what it must not install: etcd's package would start a system service.
readonly tools_dir="$PWD/target/tools"

say() { printf '%-8s %s\n' "$1" "$2"; }

# A user's error: what, why, what to type next.
fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    local line
    for line in "$@"; do printf '       %s\n' "$line" >&2; done
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# A rustup that was just installed is not yet in PATH.
add_cargo_to_path() {
    if ! have cargo && [[ -x "$HOME/.cargo/bin/cargo" ]]; then export PATH="$HOME/.cargo/bin:$PATH"; fi
}

# Prints the etcd that everything uses: SHOAL_ETCD, else the one in PATH, else the unpacked one; nothing where there is none.
find_etcd() {
    if [[ -n "${SHOAL_ETCD:-}" ]]; then
        echo "$SHOAL_ETCD"
    elif have etcd; then
        command -v etcd
    elif [[ -x "$tools_dir/etcd" ]]; then
        echo "$tools_dir/etcd"
    fi
}

# The features that the whole-cluster tests need: places where they hold a node's processes (container/src/fail.rs). No released program has them.
readonly failpoints="shoal-server/failpoints,shoal-container/failpoints,shoal-tests/failpoints"

# Prints the built programs' directory of a profile (debug or release).
built() { echo "${CARGO_TARGET_DIR:-$PWD/target}/$1"; }
