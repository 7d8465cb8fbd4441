#!/usr/bin/env bash
# Fuzzes every target for some time; fails on any finding. Needs Rust nightly, and installs it and cargo-fuzz where they are missing.
# Corpora grow in fuzz/corpus-work, findings are left in fuzz/artifacts; git ignores both.
# Exit status: 0 no findings, 1 findings, 2 wrong usage, 3 nothing could run, as Rust nightly or cargo-fuzz cannot be had.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<END
usage: ${0##*/} [SECONDS [TARGET...]]
  SECONDS  for each target; default: 60
  TARGET   default: all
END
}

say() {
  echo "fuzz: $*"
}

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  usage
  exit
fi
seconds=${1:-60}
if ! [[ $seconds =~ ^[1-9][0-9]*$ ]]; then
  usage >&2
  exit 2
fi
targets=("${@:2}")
((${#targets[@]})) || mapfile -t targets < <(basename -s .rs fuzz_targets/*.rs)

if ! cargo +nightly --version >/dev/null 2>&1; then
  if ! command -v rustup >/dev/null; then
    say "no Rust nightly, and no rustup to install it"
    exit 3
  fi
  say "installing Rust nightly"
  rustup toolchain install nightly --profile minimal || {
    say "Rust nightly cannot be had here"
    exit 3
  }
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
  say "installing cargo-fuzz"
  cargo install --quiet --locked cargo-fuzz || {
    say "cargo-fuzz cannot be had here"
    exit 3
  }
fi

say "building ${#targets[@]} targets"
cargo +nightly fuzz build --features libfuzzer
failed=()
for target in "${targets[@]}"; do
  work=corpus-work/$target
  log=corpus-work/$target.log
  mkdir -p "$work" "artifacts/$target"
  say "$target for $seconds s; $log"
  options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=4096 -print_final_stats=1)
  if [[ -f dictionaries/$target ]]; then
    options+=(-dict="dictionaries/$target")
  fi
  if cargo +nightly fuzz run --features libfuzzer "$target" "$work" "seeds/$target" -- "${options[@]}" >"$log" 2>&1; then
    sed -n 's/^stat::number_of_executed_units: */fuzz: executions: /p' "$log"
  else
    failed+=("$target")
    grep -aE -m 5 'panicked at|ERROR: |SUMMARY|assertion|reproduce' "$log" || tail -n 20 "$log"
  fi
done
if ((${#failed[@]})); then
  say "findings in: ${failed[*]}"
  exit 1
fi
say "no findings"
