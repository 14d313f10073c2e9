#!/bin/sh
# Writes docker-compose.gpus.yml: a service for each GPU of this machine after the first, which the
# compose file has itself. `--scale` would give every copy the same GPU.
set -eu
count=$1
file=$(cd "$(dirname "$0")/.." && pwd)/docker-compose.gpus.yml
case $count in
  '' | *[!0-9]* | 0) echo "COUNT is '$count': how many GPUs has this machine? (nvidia-smi --list-gpus)" >&2; exit 1 ;;
esac
{
  echo "# Made by \`make gpus COUNT=$count\`."
  if [ "$count" -gt 1 ]; then echo "services:"; else echo "services: {}"; fi
  gpu=1
  while [ "$gpu" -lt "$count" ]; do
    cat <<YAML
  worker-gpu-$gpu:
    extends: { file: docker-compose.yml, service: worker-gpu }
    deploy:
      resources:
        reservations:
          devices: !override [{ driver: nvidia, device_ids: ["$gpu"], capabilities: [gpu] }]
    networks: { inside: { aliases: [worker-gpu] } , outside: {} }
YAML
    gpu=$((gpu + 1))
  done
} >"$file"
echo "$file: $count GPUs. Start with"
echo "  docker compose -f docker-compose.yml -f docker-compose.gpus.yml --profile gpu up -d --wait --scale worker=0"
