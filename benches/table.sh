#!/usr/bin/env bash
# Runs `cargo bench --bench framing` and writes what it measured as tables into docs/framings/README.md.
# All cases take about five minutes; nothing else should run on the machine meanwhile.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

page=docs/framings/README.md
begin='<!-- throughput: begin. Written by benches/table.sh; do not edit. -->'
end='<!-- throughput: end -->'

usage() {
  cat <<END
usage: ${0##*/} [--print [CRITERION-ARGUMENT...]]
  --print  write the tables to standard output instead; arguments go to criterion: ${0##*/} --print --quick lines
END
}

print=
case ${1:-} in
  '') ;;
  --print)
    print=1
    shift
    ;;
  -h | --help)
    usage
    exit
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac

for mark in "$begin" "$end"; do
  if ! grep -qxF -- "$mark" "$page"; then
    echo "$page has no line '$mark'" >&2
    exit 1
  fi
done

# Results of its own: none of an earlier run can get between.
CRITERION_HOME=$PWD/target/criterion-table
export CRITERION_HOME
rm -rf "$CRITERION_HOME"
cargo bench --locked --bench framing -- --noplot "$@" >&2

# number FILE KEY...: the number behind these keys, each looked for behind the one before. Criterion writes no spaces.
number() {
  local text key
  text=$(<"$1")
  shift
  for key; do
    text=${text#*"\"$key\":"}
  done
  echo "${text%%[,\}]*}"
}

# One line for each case that was measured, in the order of the program: direction, row, size, ns, records, bytes.
results() {
  local case direction row size folder
  cargo bench --quiet --locked --bench framing -- --list | sed -n 's/: benchmark$//p' | while read -r case; do
    IFS=/ read -r direction row size <<<"$case"
    folder=$CRITERION_HOME/$case/new
    [[ -f $folder/estimates.json ]] || continue
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$direction" "$row" "$size" \
      "$(number "$folder/estimates.json" median point_estimate)" \
      "$(number "$folder/benchmark.json" ElementsAndBytes elements)" \
      "$(number "$folder/benchmark.json" ElementsAndBytes bytes)"
  done
}

# What a record takes and how many GB/s of messages that makes; behind the codecs of tokio-util, how many times as long they take as ours.
tables() {
  awk -F '\t' '
    function short(x) { return x >= 100 ? sprintf("%.0f", x) : x >= 10 ? sprintf("%.1f", x) : sprintf("%.2f", x) }
    function time(ns) { return ns < 1000 ? short(ns) " ns" : ns < 1e6 ? short(ns / 1e3) " µs" : short(ns / 1e6) " ms" }
    {
      key = $1 SUBSEP $2
      if (!(key in known)) { known[key] = 1; rows[$1, ++count[$1]] = $2 }
      each[key, $3] = $4 / $5
      rate[key, $3] = $6 / $4
      one[key, $3] = $4 / $6
    }
    # The row of ours that a row of tokio-util stands beside.
    function cell(direction, row, size,    key, ours, text) {
      key = direction SUBSEP row
      if (!((key, size) in each)) return "–"
      text = size == "bytewise" ? time(one[key, size]) : time(each[key, size]) ", " short(rate[key, size])
      ours = direction SUBSEP substr(row, 1, index(row, "+") - 1)
      if (index(row, "+") && (ours, size) in each) text = text sprintf(" (× %.2f)", each[key, size] / each[ours, size])
      return text
    }
    END {
      sizes = split("16 256 4096 65536 1048576 bytewise", size, " ")
      directions = split("decode encode", direction, " ")
      for (d = 1; d <= directions; d++) {
        if (!count[direction[d]]) continue
        print (d == 1 ? "**Reading** (backend to client):" : "**Writing** (client to backend):") "\n"
        print "| framing | 16 B | 256 B | 4 KiB | 64 KiB | 1 MiB | a byte at a time, each |"
        print "|---|---|---|---|---|---|---|"
        for (r = 1; r <= count[direction[d]]; r++) {
          row = rows[direction[d], r]
          line = index(row, "+") ? "| … `" substr(row, index(row, "+") + 1) "` |" : "| " row " |"
          for (s = 1; s <= sizes; s++) line = line " " cell(direction[d], row, size[s]) " |"
          print line
        }
        print ""
      }
    }'
}

machine() {
  local cpu memory
  cpu=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
  memory=$(awk '/^MemTotal/ { printf "%.0f", $2 / 1024 / 1024 }' /proc/meminfo)
  echo "${cpu:-unknown processor}, $(nproc) processors, $memory GiB, Linux $(uname -r)"
}

version() {
  cargo metadata --locked --format-version 1 | grep -o '"name":"tokio-util","version":"[^"]*"' | head -n 1 | cut -d '"' -f 8
}

section() {
  echo "$begin"
  echo
  echo "Machine: $(machine). sealock $(git describe --always --dirty), tokio-util $(version). $(date -u +%F), by \`benches/table.sh\`."
  echo
  results | tables
  echo "$end"
}

if [[ $print ]]; then
  section
  exit
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
section >"$folder/section"
awk -v begin="$begin" -v end="$end" -v section="$folder/section" '
  $0 == begin { while ((getline line < section) > 0) print line; skip = 1 }
  !skip
  $0 == end { skip = 0 }' "$page" >"$folder/page"
cat "$folder/page" >"$page"
echo "written: $page" >&2
