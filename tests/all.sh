#!/usr/bin/env bash
# Runs everything that sealock is tested with, and says at the end what passed. Installs what the tests need and is missing.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

usage() {
  cat <<END
usage: ${0##*/} [--fast]
  --fast        without the fuzzer and the conformance suite; their seeds and the tests run all the same
environment:
  FUZZ_SECONDS  how long each fuzz target runs; default: 10
END
}

fast=
case ${1:-} in
  '') ;;
  --fast) fast=yes ;;
  -h | --help)
    usage
    exit
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac

trap 'exit 130' INT
summary=()
failed=0

# part NAME COMMAND...: runs a part and remembers how it went. A part exits with 3 where it cannot run, and has said why.
part() {
  local name=$1 start=$SECONDS status=0 word
  shift
  printf '\n== %s: %s\n' "$name" "$*"
  "$@" || status=$?
  case $status in
    0) word=passed ;;
    3) word=skipped ;;
    *)
      word=FAILED
      failed=1
      ;;
  esac
  summary+=("$(printf '%-8s %5d s  %s' "$word" $((SECONDS - start)) "$name")")
}

part "programs that tests run" tests/install-deps.sh
part "tests" cargo test --locked
part "fuzz seeds" cargo test --locked --manifest-path fuzz/Cargo.toml --target-dir target
if [[ -z $fast ]]; then
  part "fuzzer" fuzz/run.sh "${FUZZ_SECONDS:-10}"
  part "conformance" tests/conformance/run.sh
fi

printf '\n'
printf '%s\n' "${summary[@]}"
exit $failed
