#!/bin/bash
set -uo pipefail
export NCCL_SOCKET_IFNAME=eth0
export NOTE='it is 1 node'

workdir=/opt/wholegrain
python=/opt/python/bin/python
arguments=(smoke launch=torchrun run.out=/shared/runs/smoke launch.cluster.workdir=/opt/wholegrain launch.cluster.python=/opt/python/bin/python 'launch.cluster.environment={NCCL_SOCKET_IFNAME: eth0, NOTE: '"'"'it is 1 node'"'"'}')
meet=node1
port=29500

# Run it on every node with the node's number, 0 to N-1. One agent of torchrun a node and attempt, each with a store of
# its own: torch 2.13's agent does not recover when it restarts its workers itself. `launch node` ends as its ranks did.
if [[ ! ${1-} =~ ^[0-9]+$ ]]; then
    echo "usage: $0 NODE, this node's number from 0 on" >&2
    exit 64
fi
cd "$workdir" || exit 64
while :; do
    "$python" -m launch node "${arguments[@]}" --node="$1" --meet="$meet:$port"
    code=$?
    # 75, and what is our bug: the others are here again within seconds, too.
    if [[ $code != 1 && $code != 75 ]]; then exit "$code"; fi
    sleep 2
done
