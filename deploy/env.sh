#!/bin/sh
# Makes .env beside docker-compose.yml out of env.example, with random secrets, for its owner alone.
# Again: what is there stays as it is, and what a newer version asks for besides is added.
set -eu
umask 077
here=$(cd "$(dirname "$0")" && pwd)
example=$here/env.example
env=${1:-$here/../.env}

secret() { od -An -N20 -tx1 /dev/urandom | tr -d ' \n'; }

if [ -s "$env" ]; then
  for name in $(sed -n 's/^\([A-Z0-9_]*\)=$/\1/p' "$example"); do
    grep -q "^$name=." "$env" && continue
    rest=$(grep -v "^$name=\$" "$env" || true)
    printf '%s\n%s=%s\n' "$rest" "$name" "$(secret)" >"$env.new"
    mv "$env.new" "$env"
    echo "$name is added to $env"
  done
else
  while IFS= read -r line; do
    case $line in
      [A-Z]*=) printf '%s%s\n' "$line" "$(secret)" ;;
      *) printf '%s\n' "$line" ;;
    esac
  done <"$example" >"$env"
  echo "$env is made, with random secrets: keep a copy where your backups are"
fi
chmod 600 "$env"
