#!/usr/bin/env bash
# Installs the programs that judge weir into .tools/ (nothing system-wide). Repeated calls do nothing.
set -euo pipefail
cd "$(dirname "$0")"
tools="${WEIR_TOOLS:-$PWD/../.tools}"
want="$(cat requirements.txt package.json | sha256sum)"
[ "$(cat "$tools/stamp" 2>/dev/null)" = "$want" ] && exit 0
mkdir -p "$tools"
echo "== installing the judges (DuckDB, polars, deltalake, moto, emulate, octokit fixtures)"
python3 -m venv "$tools/py"
"$tools/py/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt
cp package.json "$tools/package.json"
npm install --prefix "$tools" --ignore-scripts --no-audit --no-fund --silent
echo "$want" > "$tools/stamp"
