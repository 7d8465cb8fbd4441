#!/usr/bin/env bash
# Installs the programs that the tests run beside sealock, where they are missing (Debian and its kin).
# Says nothing when nothing is missing. Exit status: 0 all is there, 1 something is missing still.
set -euo pipefail

# command:package. Daemons live in sbin, which an ordinary user's path may lack, and PostgreSQL in a folder for each version.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
for folder in /usr/lib/postgresql/*/bin; do
  PATH=$PATH:$folder
done
readonly needed=(
  chromium:chromium       # the browser tests
  curl:curl               # the admin and upgrade tests
  dnsmasq:dnsmasq-base    # a DNS server over TCP; this package starts no service
  dropbear:dropbear-bin   # an SSH server for the raw framing; this package starts no service
  haproxy:haproxy         # the other end of the PROXY protocol, in front and behind
  initdb:postgresql       # a database server
  kill:procps             # signals; the one of the shell does not count
  mosquitto:mosquitto     # an MQTT broker
  ngircd:ngircd           # an IRC server
  openssl:openssl         # TLS clients and servers that are not ours
  ssh:openssh-client      # an SSH client
  promtool:prometheus     # checks the form of our metrics
  python3:python3         # the conformance and browser scripts, and what comes from PyPI
  redis-server:redis-server
  rsyslogd:rsyslog        # a syslog receiver
)
# Those that Debian starts as services when they are installed, some on every address; the tests start their own on loopback.
readonly services=(haproxy mosquitto ngircd postgresql prometheus redis-server rsyslog)

say() {
  echo "install-deps: $*" >&2
}

debian() {
  if ! command -v apt-get >/dev/null; then
    say "this script knows apt-get only; the tests need what Debian packages as: ${missing[*]}"
    exit 1
  fi
  local root=() apt
  if ((EUID)); then
    if ! command -v sudo >/dev/null; then
      say "not root, and there is no sudo; as root: apt-get install --no-install-recommends ${missing[*]}"
      exit 1
    fi
    root=(sudo)
  fi

  say "installing ${missing[*]}"
  apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq)
  "${apt[@]}" update
  # Nothing is removed for it: a machine that has another syslog daemon keeps that, and is told.
  "${apt[@]}" install --no-install-recommends --no-remove "${missing[@]}" >/dev/null

  for service in "${services[@]}"; do
    if [[ " ${missing[*]} " == *" $service "* && -d /run/systemd/system ]]; then
      "${root[@]}" systemctl disable --quiet --now "$service"
    fi
  done
}

# pypi FOLDER PACKAGE...: what Debian has not, in a folder of target/, where the tests look for it. Made anew as a whole when it is
# not what it should be: the mark comes last, so that an interrupted installation is not taken for a whole one.
pypi() {
  local folder
  folder=$(dirname "${BASH_SOURCE[0]}")/../target/$1
  shift
  if [[ $(cat "$folder/installed" 2>/dev/null) == "$*" ]]; then
    return
  fi
  say "installing $* from PyPI"
  if ! { python3 -m venv --clear "$folder" &&
    "$folder/bin/pip" install --quiet --disable-pip-version-check "$@" && echo "$*" >"$folder/installed"; }; then
    say "could not install from PyPI: $*"
    exit 1
  fi
}

missing=()
for pair in "${needed[@]}"; do
  type -P "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
# Chromium draws no text, and warns on every page, without a single font.
if [[ -z $(find -L /usr/share/fonts /usr/local/share/fonts \( -name '*.ttf' -o -name '*.otf' \) -print -quit 2>/dev/null) ]]; then
  missing+=(fonts-dejavu-core)
fi
if ! python3 -c 'import ensurepip' 2>/dev/null; then
  missing+=(python3-venv)
fi
((${#missing[@]})) && debian
# A TLS scanner.
pypi sslyze sslyze==6.3.1
# Servers of STOMP, MLLP, Modbus/TCP, and for editors of Python; a client of MQTT over WebSocket. Other implementations of framings.
pypi services coilmq==1.1.0 hl7==0.4.5 paho-mqtt==2.2.0 pyModbusTCP==0.3.1 python-lsp-server==1.15.0 \
  cobs==1.2.2 pynetstring==0.5 sliplib==0.7.2
