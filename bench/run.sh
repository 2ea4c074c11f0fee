#!/usr/bin/env bash
# Runs the whole path against the peers that can be installed here, on the same pages, and prints the table.
#   bench/run.sh [arguments of the peers' run.py, such as --scale 0.2 --runs 3]
set -euo pipefail
cd "$(dirname "$0")/.."
peers="${WEIR_BENCH_PEERS:-$PWD/../shared/bench}"
if [ ! -f "$peers/run.py" ]; then
  echo "bench: the peers' folder $peers is absent; set WEIR_BENCH_PEERS to it" >&2
  exit 0
fi
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
export BENCH_WORK="${BENCH_WORK:-${TMPDIR:-/tmp}/weir-bench}"
echo "== building weir (release)"
cargo build --release --bin weir
export WEIR_BIN="$CARGO_TARGET_DIR/release/weir"

here="$BENCH_WORK/here"
rm -rf "$here" && mkdir -p "$here" && cp -r "$peers/." "$here" && chmod -R u+w "$here"
install -m 755 bench/weir.sh "$here/contestants/weir.sh"
echo "== installing the peers (dlt and what the hand-written one needs)"
sh "$here/setup.sh" ${WEIR_BENCH_INSTALL:-dlt}

python="$BENCH_WORK/venvs/core/bin/python"
status=0
"$python" "$here/run.py" --only "${WEIR_BENCH_ONLY:-weir,limit-duckdb,diy-python,dlt}" \
  --workloads rest-full,rest-incr,many-small,startup "$@" || status=$?
"$python" "$here/lib/servers.py" stop
exit "$status"
