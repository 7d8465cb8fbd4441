#!/usr/bin/env bash
# Installs the programs that the tests run beside sealock, where they are missing (Debian and its kin).
# Says nothing when nothing is missing. Exit status: 0 all is there, 1 something is missing still.
set -euo pipefail

# command:package. Daemons live in sbin, which an ordinary user's path may lack.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
readonly needed=(
  chromium:chromium       # the browser tests
  curl:curl               # the admin and upgrade tests
  dnsmasq:dnsmasq-base    # a DNS server over TCP; this package starts no service
  dropbear:dropbear-bin   # an SSH server for the raw framing; this package starts no service
  haproxy:haproxy         # the other end of the PROXY protocol, in front and behind
  ngircd:ngircd           # an IRC server
  openssl:openssl         # TLS clients and servers that are not ours
  ssh:openssh-client      # an SSH client
  python3:python3         # the conformance and browser scripts, sslyze
)
# A TLS scanner, which Debian has not: from PyPI, into a folder of its own.
readonly sslyze=6.3.1

say() {
  echo "install-deps: $*" >&2
}

# Where the tests look for it.
scanner=$(dirname "${BASH_SOURCE[0]}")/../target/sslyze

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
  "${apt[@]}" install --no-install-recommends "${missing[@]}" >/dev/null

  # Debian starts ngircd on every address when it is installed; the tests start their own on loopback.
  if [[ " ${missing[*]} " == *" ngircd "* && -d /run/systemd/system ]]; then
    "${root[@]}" systemctl disable --quiet --now ngircd
  fi
}

# Made anew as a whole: the mark comes last, so that an interrupted installation is not taken for a whole one.
scanner() {
  say "installing sslyze $sslyze"
  if ! { python3 -m venv --clear "$scanner" &&
    "$scanner/bin/pip" install --quiet --disable-pip-version-check "sslyze==$sslyze" && touch "$scanner/$sslyze"; }; then
    say "sslyze could not be installed from PyPI"
    exit 1
  fi
}

missing=()
for pair in "${needed[@]}"; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
# Chromium draws no text, and warns on every page, without a single font.
if [[ -z $(find -L /usr/share/fonts /usr/local/share/fonts \( -name '*.ttf' -o -name '*.otf' \) -print -quit 2>/dev/null) ]]; then
  missing+=(fonts-dejavu-core)
fi
if ! python3 -c 'import ensurepip' 2>/dev/null; then
  missing+=(python3-venv)
fi
((${#missing[@]})) && debian
[[ -e $scanner/$sslyze ]] || scanner
