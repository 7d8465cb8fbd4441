#!/usr/bin/env bash
# The soak: normal sessions, every fault, reloads and drains at once for a while; then an account of everything.
# Arguments are passed on: tests/soak.sh --minutes 480 --sessions 500 --seed 1
# SEALOCK names the binary to test; without it, that is a release build of this tree.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v prlimit >/dev/null || {
  echo "soak: prlimit is missing (Debian: util-linux)" >&2
  exit 3
}
if [[ -z ${SEALOCK:-} ]]; then
  cargo build --quiet --release --locked
  SEALOCK=$PWD/target/release/sealock
fi
export SEALOCK
exec cargo test --quiet --locked --test soak -- "$@"
