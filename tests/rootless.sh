#!/bin/sh
# Runs the conformance kit as an ordinary account, in rootless mode: tests/rootless.sh PROVIDER [PYTEST ARGUMENT…]. Run as root.
# The account runs a copy, as the checkout may be closed to it. PYTHON names the interpreter with envup's `dev` extra.
# tini reaps what leaves its parent, as scripts/backends says.
set -eu
provider=$1
shift
here=$(cd "$(dirname "$0")/.." && pwd)
account=$("$here/tests/account.sh")
groups=$account
[ "$provider" != docker ] || groups=docker # who may use the engine
place=$(mktemp -d /var/tmp/envup-rootless.XXXXXX)
trap 'rm -rf "$place"' EXIT
trap 'exit 130' INT TERM
chmod 755 "$place"
python=$("${PYTHON:-$here/.venv/bin/python}" "$here/tests/rootless/readable.py" "$place" "$account")
install -d -o "$account" "$place/tmp"
cd "$place"
runuser -u "$account" -G "$groups" -- env -i "PATH=$PATH" LANG=C.UTF-8 "HOME=$place/tmp" "TMPDIR=$place/tmp" \
    "PYTHONPATH=$place/packages" PYTHONDONTWRITEBYTECODE=1 ${ENVUP_TEST_IMAGE:+"ENVUP_TEST_IMAGE=$ENVUP_TEST_IMAGE"} \
    tini -s -- "$python" -m pytest -p no:cacheprovider --pyargs envup.testing --envup-provider "$provider" "$@"
