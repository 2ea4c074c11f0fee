#!/bin/sh
# weir as a contestant of the peer benchmark: see bench/README.md.
set -eu
W="${WEIR_BIN:-weir}"

project() { # writes a project folder: one connection by configuration alone
  mkdir -p "$BENCH_OUT/connections"
  printf 'project: bench\nlake: { location: %s/lake }\n' "$BENCH_OUT" > "$BENCH_OUT/weir.yaml"
  {
    printf 'connector: http_json\nsource: bench\nallow_private_hosts: true\nconfig:\n  base_url: %s\n  streams:\n' "$BENCH_URL"
    case "$1" in
    rest-full) stream issues /issues 'mode: full_refresh_replace' ;;
    rest-incr) stream issues /issues 'cursor: { field: updated_at, request: { param: since } }, mode: incremental_merge' ;;
    many-small) for n in $(seq -w 0 199); do stream "s$n" "/many/$n" 'mode: full_refresh_replace'; done ;;
    esac
  } > "$BENCH_OUT/connections/bench.yaml"
}

stream() { # name, path, the rest
  printf '    - { name: %s, path: %s, select: items, primary_key: [id], paginate: { by: page_number, request: { param: page }, pages_path: pages }, %s }\n' "$1" "$2" "$3"
}

case "$1" in
info) printf '{"name":"weir","version":"%s","workloads":["rest-full","rest-incr","many-small","startup"]}\n' \
  "$("$W" --version | grep -o '[0-9][0-9.]*$')" ;;
run)
  [ "$2" = startup ] && exec "$W" --help
  [ -e "$BENCH_OUT/weir.yaml" ] || project "$2"
  cd "$BENCH_OUT"
  exec "$W" sync bench ;;
result) case "$2" in
  startup) echo '{"format":"none"}' ;;
  many-small) echo '{"format":"delta","path":"'"$BENCH_OUT"'/lake/silver/bench_s{stream}","size_of":"'"$BENCH_OUT"'/lake"}' ;;
  *) echo '{"format":"delta","path":"'"$BENCH_OUT"'/lake/silver/bench_issues","size_of":"'"$BENCH_OUT"'/lake"}' ;;
  esac ;;
esac
