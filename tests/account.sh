#!/bin/sh
# Makes the ordinary account with subordinate ids that the rootless tests run as, and prints its name. Run as root; again is harmless.
set -eu
account=${1:-envup-test}
id -u "$account" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$account"
for file in /etc/subuid /etc/subgid; do
    touch "$file"
    if ! grep -q "^$account:" "$file"; then
        first=$(awk -F: 'BEGIN { next_id = 100000 } $2 + $3 > next_id { next_id = $2 + $3 } END { print next_id }' "$file")
        echo "$account:$first:65536" >>"$file"
    fi
done
echo "$account"
