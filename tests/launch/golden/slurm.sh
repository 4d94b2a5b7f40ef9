#!/bin/bash
#SBATCH --job-name=smoke
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --time=1-00:00:00
#SBATCH --output=/shared/runs/smoke/slurm-%j.log
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --exclusive

set -uo pipefail
export NCCL_SOCKET_IFNAME=eth0
export NOTE='it is 1 node'

workdir=/opt/wholegrain
python=/opt/python/bin/python
arguments=(smoke launch=slurm run.out=/shared/runs/smoke launch.cluster.workdir=/opt/wholegrain launch.cluster.python=/opt/python/bin/python 'launch.cluster.environment={NCCL_SOCKET_IFNAME: eth0, NOTE: '"'"'it is 1 node'"'"'}')
out=/shared/runs/smoke
nodes=2
min_nodes=1
cpus=''
address=''
fatal_codes='64|65|66'
probe_s=20
headless_s=120

say() { printf '%s %s\n' "$(date -u +%FT%TZ)" "$*" >&2; }

# A sleep that a trapped signal ends.
nap() { sleep "$1" & wait $!; }

# Steps of this job that srun has started and that have not ended.
steps() { squeue --noheader --steps --jobs="$SLURM_JOB_ID" --format=%i | grep -E '\.[0-9]+$'; }

# A node in quarantine, or one that starts no process within $probe_s seconds, is left out.
answering() {
    local node excluded
    mapfile -t excluded < <("$python" -m launch quarantined "${arguments[@]}")
    for node in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
        if [[ " ${excluded[*]} " == *" $node "* ]]; then continue; fi
        timeout "$probe_s" srun --overlap --quiet --nodes=1 --ntasks=1 --nodelist="$node" echo "$node" 2>/dev/null &
    done
    wait
}

# Asked to stop, by Slurm before the time is over (USR1) or by a person: the step under way is finished and committed.
ask() {
    stopped=$1
    caught=yes
    if [[ -n $coordinator ]]; then kill -TERM "$coordinator" 2>/dev/null; fi
}
trap 'ask USR1' USR1
trap 'ask TERM' TERM

# Slurm ends this script, and starts it again in another allocation.
requeue() {
    scontrol requeue "$SLURM_JOB_ID" || exit 75
    nap 600
    exit 75
}

# With --no-kill Slurm leaves an allocation alone whose first node has died, this script with it (seen on 22.05), and
# nobody is left to go on: so another node watches a file that this script changes, and has the job queued again.
watch_over() {
    local step=$(((headless_s + 9) / 10))
    while :; do
        date +%s.%N >"$out/.alive"
        sleep "$step"
    done &
    pulse=$!
    # shellcheck disable=SC2016
    srun --overlap --quiet --nodes=1 --ntasks=1 --nodelist="$1" --output=/dev/null bash -c '
        same=0
        while sleep "$1"; do
            now=$(cat "$0/.alive" 2>/dev/null)
            if [[ $now == "$last" ]]; then same=$((same + 1)); else same=0; fi
            last=$now
            if ((same >= 10)); then exec scontrol requeue "$SLURM_JOB_ID"; fi
        done' "$out" "$step" 2>/dev/null &
}

# One keeper on every node that answers, those that train and the spares, and the coordinator here. Its exit code is the
# run's; srun's says nothing (it was seen to end with 0 after a node had died).
attempt() {
    local -a good
    local use
    mapfile -t good < <(answering | sort -V)
    if ((${#good[@]} < min_nodes)); then
        say "${#good[@]} nodes answer, too few to go on: back into the queue"
        requeue
    fi
    use=$(IFS=, && echo "${good[*]}")
    say "on $use"
    # Nobody is left of an attempt before: keepers wait for what this one writes.
    rm -f "$out/keeper/place.json" "$out/keeper/coordinator.json"
    "$python" -m launch supervise "${arguments[@]}" launch.address="${address:-$(hostname)}" \
        launch.nodes="$((${#good[@]} < nodes ? ${#good[@]} : nodes))" &
    coordinator=$!
    srun --overlap --no-kill --kill-on-bad-exit=0 --wait=0 --nodes="${#good[@]}" --ntasks="${#good[@]}" \
        --ntasks-per-node=1 --cpus-per-task="${cpus:-$SLURM_CPUS_ON_NODE}" --nodelist="$use" \
        "$python" -m launch join "${arguments[@]}" &
    if ((${#good[@]} > 1)); then watch_over "${good[-1]}"; fi
    # A trapped signal ends a wait.
    local ended
    caught=yes
    while [[ -n $caught ]]; do
        caught=
        wait "$coordinator"
        ended=$?
        # 127: it had been waited for already.
        if ((ended != 127)); then code=$ended; fi
    done
    coordinator=
    # It takes a while where a node has died that Slurm does not know of.
    for step in $(steps); do scancel --quiet --signal=KILL "$step"; done
    if ((${#good[@]} > 1)); then kill "$pulse"; fi
}

stopped=
caught=
coordinator=
code=75
cd "$workdir" || exit 64
mkdir -p "$out" || exit 75
while :; do
    # Says here what is wrong with the recipe or its data, and ends the job after too many attempts without progress.
    state=$("$python" -m launch attempt "${arguments[@]}") || exit
    say "$state"
    if [[ $state == finished* ]]; then exit 0; fi
    attempt
    # For `launch goodput`.
    printf '{"time": %s, "event": "attempt.ended"}\n' "$(date +%s.%N)" >>"$out/journal.jsonl"
    say "the run ended with $code"
    if [[ $code =~ ^($fatal_codes)$ ]]; then exit "$code"; fi
    if [[ $stopped == USR1 ]]; then
        say "out of time; going on in the next allocation"
        requeue
    fi
    if [[ -n $stopped ]]; then exit 143; fi
done
