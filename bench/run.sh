#!/bin/sh
# Measures sealock beside its peers and writes docs/PERFORMANCE.md: one command, under 15 minutes.
# Installs the peers that are missing (Debian). Arguments are passed on: bench/run.sh --only echo --rounds 5
set -eu
cd "$(dirname "$0")/.."

missing=
command -v nginx >/dev/null || missing="$missing nginx-light"
# Debian's stream module is a package of its own.
if ! nginx -V 2>&1 | tr ' ' '\n' | grep -qx -e --with-stream &&
    ! ls /usr/lib/nginx/modules/ngx_stream_module.so >/dev/null 2>&1; then
    missing="$missing libnginx-mod-stream"
fi
command -v haproxy >/dev/null || missing="$missing haproxy"
command -v websockify >/dev/null || missing="$missing websockify"
if [ -n "$missing" ]; then
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    # A package must not start a service on ports of this machine.
    export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -q
    # shellcheck disable=SC2086 # a list of names
    $as_root apt-get install -qy --no-install-recommends $missing
fi

cargo build --release --locked
cargo build --release --locked --manifest-path bench/Cargo.toml
if [ $# = 0 ]; then
    set -- --json target/performance.json --report docs/PERFORMANCE.md
fi
exec bench/target/release/sealock-bench run "$@"
