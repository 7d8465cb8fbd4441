#!/usr/bin/env bash
# Runs the Autobahn|Testsuite against sealock; see README.md beside this file.
set -euo pipefail

readonly suite_version=25.10.1
readonly start_deadline=20 # seconds for a program to say where it listens
readonly suite_deadline=600 # seconds for the whole suite; it takes well under a minute

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/target/conformance
suite=$cache/autobahntestsuite-$suite_version
report=$cache/report
selection=()
action=compare

usage() {
  cat <<END
usage: ${0##*/} [--quick] [--update]
  --quick   without group 9, the limits and performance cases
  --update  write the results to expected.json instead of comparing
environment:
  SEALOCK   the binary to test; default: a release build of this tree
  PYTHON2   a Python 2.7; default: python2.7, python2 or one of pyenv's
END
}

die() {
  echo "conformance: $*" >&2
  exit 2
}

while (($#)); do
  case $1 in
    --quick) selection=(--quick) ;;
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
  shift
done

# A pyenv shim may be on the path for a version that is not active, so each candidate is tried.
find_python2() {
  local candidate
  local candidates=("${PYTHON2:-}" python2.7 python2)
  if command -v pyenv >/dev/null; then
    candidates+=("$(pyenv root)"/versions/2.7*/bin/python2.7)
  fi
  for candidate in "${candidates[@]}"; do
    if [[ -n $candidate ]] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "conformance: no Python 2.7 was found; README.md says how to get one" >&2
  return 3
}

# Installed beside its final place, so that an interrupted installation is not taken for a whole one.
install_suite() {
  [[ -d $suite ]] && return
  echo "installing autobahntestsuite $suite_version"
  rm -rf "$suite.part"
  "$python2" -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
    --target "$suite.part" "autobahntestsuite==$suite_version" 2>"$cache/pip.log" ||
    die "the suite could not be installed; see $cache/pip.log"
  touch "$suite.part/zope/__init__.py" # pip leaves this namespace package without one
  mv "$suite.part" "$suite"
}

pids=()
stop_all() {
  local pid
  for pid in "${pids[@]}"; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
}
trap stop_all EXIT

# start NAME COMMAND...: runs a program in the background and waits until it tells its address,
# which is left in `address`. Both programs say it in the same words.
start() {
  local name=$1 log=$cache/$1.log
  shift
  : >"$log" # here, not by the program's redirection: the address of an earlier run must not be read
  "$@" >>"$log" 2>&1 &
  local pid=$!
  pids+=("$pid")
  local said
  read -r -t "$start_deadline" said < <(
    tail -n +1 -f --pid="$pid" "$log" 2>/dev/null | grep --line-buffered -m1 -oE 'listening on [a-z]+://[0-9.:]+'
  ) || die "$name did not start; see $log"
  address=${said##*/}
}

mkdir -p "$cache"
python2=$(find_python2)
install_suite
if [[ -z ${SEALOCK:-} ]]; then
  cargo build --quiet --release --locked --manifest-path "$root/Cargo.toml" --bin sealock
  SEALOCK=$root/target/release/sealock
fi

start echo python3 "$here/echo.py"
backend=$address

cat >"$cache/sealock.toml" <<END
[[listener]]
bind = "127.0.0.1:0"
plaintext = "loopback"

[defaults]
origins = "*"
max_message = "64 MiB"
ping_interval = "off"

[[route]]
name = "text"
path = "/text"
backend = "tcp://$backend"
framing = "u32be"
message = "text"

[[route]]
name = "binary"
path = "/binary"
backend = "tcp://$backend"
framing = "u32be"
message = "binary"
END
start sealock "$SEALOCK" run -c "$cache/sealock.toml"

rm -rf "$report"
python3 "$here/cases.py" "${selection[@]}" spec "$address" "$report" >"$cache/spec.json"
PYTHONPATH=$suite timeout "$suite_deadline" "$python2" -c 'from autobahntestsuite.wstest import run; run()' \
  --mode fuzzingclient --spec "$cache/spec.json" >"$cache/suite.log" 2>&1 ||
  die "the suite did not finish; see $cache/suite.log"
kill -0 "${pids[1]}" 2>/dev/null || die "sealock has ended; see $cache/sealock.log"
[[ -f $report/index.json ]] || die "the suite left no report; see $cache/suite.log"

python3 "$here/cases.py" "${selection[@]}" "$action" "$report"
