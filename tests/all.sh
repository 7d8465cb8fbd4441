#!/usr/bin/env bash
# Runs everything that sealock is tested with, and says at the end what passed. Installs what the tests need and is missing.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

usage() {
  cat <<END
usage: ${0##*/} [--fuzz]
  --fuzz        the fuzzer too. It finds what it finds by chance, so it is no part of what a change must pass; the seeds of its
                targets, with everything it has found so far, are run in any case
environment:
  FUZZ_SECONDS  how long each fuzz target runs; default: 60
END
}

fuzz=
case ${1:-} in
  '') ;;
  --fuzz) fuzz=yes ;;
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
part "conformance" tests/conformance/run.sh
part "soak, a short one" tests/soak.sh --minutes 0.5
if [[ -n $fuzz ]]; then
  part "fuzzer" fuzz/run.sh "${FUZZ_SECONDS:-60}"
fi

printf '\n'
printf '%s\n' "${summary[@]}"
exit $failed
