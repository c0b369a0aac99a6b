#!/bin/sh
# Runs the conformance cases as an ordinary account, in rootless mode: tests/rootless.sh [PYTEST ARGUMENT…]. Run as root.
# The account must be able to read the checkout and its .venv, and to execute an interpreter of .venv's version.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
account=$("$here/tests/account.sh")
as_account() { runuser -u "$account" -- env "HOME=$(getent passwd "$account" | cut -d: -f6)" PYTHONDONTWRITEBYTECODE=1 "$@"; }
version=$("$here/.venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
python=$here/.venv/bin/python
if ! as_account "$python" -c pass 2>/dev/null; then
    python=$(command -v "/usr/bin/python$version") || { echo "account $account cannot run $python" >&2; exit 1; }
fi
cd "$here"
as_account "PYTHONPATH=$here/core:$here/providers:$here/provisioners:$here/.venv/lib/python$version/site-packages" \
    ${ENVUP_TEST_IMAGE:+"ENVUP_TEST_IMAGE=$ENVUP_TEST_IMAGE"} \
    "$python" -m pytest -p no:cacheprovider tests/conformance "$@"
