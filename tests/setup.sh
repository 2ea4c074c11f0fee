#!/usr/bin/env bash
# Installs the programs that judge weir into .tools/ (nothing system-wide). Repeated calls do nothing.
set -euo pipefail
cd "$(dirname "$0")"
tools="${WEIR_TOOLS:-$PWD/../.tools}"
want="$(cat requirements.txt programs.txt package.json | sha256sum)"
[ "$(cat "$tools/stamp" 2>/dev/null)" = "$want" ] && exit 0
mkdir -p "$tools"
echo "== installing the judges (DuckDB, polars, deltalake, moto, emulate, octokit fixtures, oidc-provider, source-faker, two taps, two MCP clients, the MCP conformance suite, localstripe, pymap, Prism, libraries that sign)"
python3 -m venv "$tools/py"
"$tools/py/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt
cp package.json "$tools/package.json"
# Sources and clients, each in an environment of its own: their dependencies do not agree.
grep -v '^#' programs.txt | while read -r name packages; do
  python3 -m venv "$tools/$name"
  # shellcheck disable=SC2086
  "$tools/$name/bin/pip" install --quiet --disable-pip-version-check $packages
done
npm install --prefix "$tools" --ignore-scripts --no-audit --no-fund --silent
echo "$want" > "$tools/stamp"
