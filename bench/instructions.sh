#!/usr/bin/env bash
# Counts the instructions of the data path under callgrind, and compares them with bench/instructions/baseline.toml.
# Installs valgrind where it is missing (Debian and its kin).
# Exit status: 0 no case grew by more than 3 %, 1 one did or could not be counted, 2 wrong usage, 3 there is no valgrind, or no baseline
# for a machine like this one.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<END
usage: ${0##*/} [--update]
  --update  write the counts to the baseline instead of comparing them with it
END
}

say() {
  echo "instructions: $*" >&2
}

action=check
case ${1:-} in
  '') ;;
  --update) action=update ;;
  -h | --help)
    usage
    exit
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac

if ! command -v valgrind >/dev/null; then
  root=()
  ((EUID)) && root=(sudo -n)
  apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq)
  say "installing valgrind"
  if ! command -v apt-get >/dev/null || ! "${apt[@]}" update ||
    ! "${apt[@]}" install --no-install-recommends valgrind >/dev/null; then
    say "valgrind cannot be had here"
    exit 3
  fi
fi

# Flags from outside would make other code than what is released.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
cargo build --quiet --release --locked --manifest-path bench/instructions/Cargo.toml --target-dir target
exec target/release/sealock-instructions "$action" bench/instructions/baseline.toml
