#!/bin/bash
set -euo pipefail
export NCCL_SOCKET_IFNAME=eth0
export NOTE='it is 1 node'
cd /opt/wholegrain
exec /opt/python/bin/python -m launch run smoke launch=local run.out=/shared/runs/smoke launch.cluster.workdir=/opt/wholegrain launch.cluster.python=/opt/python/bin/python 'launch.cluster.environment={NCCL_SOCKET_IFNAME: eth0, NOTE: '"'"'it is 1 node'"'"'}'
