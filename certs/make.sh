#!/bin/sh
# Makes a development CA and a certificate for this machine, here; see README.md.
set -eu
cd "$(dirname "$0")/.."
cargo run --quiet -- cert --out certs localhost 127.0.0.1 ::1
