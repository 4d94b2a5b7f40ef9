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

name=smoke
workdir=/opt/wholegrain
python=/opt/python/bin/python
arguments=(smoke launch=slurm run.out=/shared/runs/smoke launch.cluster.workdir=/opt/wholegrain launch.cluster.python=/opt/python/bin/python 'launch.cluster.environment={NCCL_SOCKET_IFNAME: eth0, NOTE: '"'"'it is 1 node'"'"'}')
out=/shared/runs/smoke
nodes=2
min_nodes=1
ranks_per_node=8
task_options=()
fatal_codes='64|65|66'
probe_s=20
headless_s=120
grace_s=2
start_s=1800
stall_s=600

# Steps of this job that srun has started and that have not ended.
steps() { squeue --noheader --steps --jobs="$SLURM_JOB_ID" --format=%i | grep -E '\.[0-9]+$'; }

# A node in quarantine, or one that starts no process within $probe_s seconds, is left out; a spare takes its place.
answering() {
    local node excluded
    mapfile -t excluded < <("$python" -m launch quarantined "${arguments[@]}")
    for node in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
        if [[ " ${excluded[*]} " == *" $node "* ]]; then continue; fi
        timeout "$probe_s" srun --overlap --quiet --nodes=1 --ntasks=1 --nodelist="$node" echo "$node" 2>/dev/null &
    done
    wait
}

# Asked to stop, by Slurm before the time is over (USR1) or by a person: so are the ranks. What is committed stays.
ask() {
    stopped=$1
    for step in $(steps); do scancel --quiet --signal=TERM "$step"; done
}
trap 'ask USR1' USR1
trap 'ask TERM' TERM

hand_back() {
    if [[ $stopped == USR1 ]]; then
        say "out of time; going on in the next allocation"
        requeue
    fi
    exit 143
}

# Slurm ends this script, and starts it again in another allocation.
requeue() {
    scontrol requeue "$SLURM_JOB_ID" || exit 75
    nap 600
    exit 75
}

end() {
    for step in $(steps); do scancel --quiet --signal=KILL "$step"; done
    # By itself it would wait until Slurm knows that a node is dead.
    kill -KILL "$1" 2>/dev/null
}

# With --no-kill Slurm leaves an allocation alone whose first node has died, this script with it (seen on 22.05), and
# nobody is left to go on: so another node watches a file that this script changes, and has the job queued again.
watch_over() {
    local step=$(((headless_s + 9) / 10))
    while :; do
        date +%s.%N >"$notes/alive"
        sleep "$step"
    done &
    pulse=$!
    # shellcheck disable=SC2016
    srun --overlap --quiet --nodes=1 --ntasks=1 --nodelist="$1" --output=/dev/null bash -c '
        same=0
        while sleep "$1"; do
            now=$(cat "$0/alive" 2>/dev/null)
            if [[ $now == "$last" ]]; then same=$((same + 1)); else same=0; fi
            last=$now
            if ((same >= 10)); then exec scontrol requeue "$SLURM_JOB_ID"; fi
        done' "$notes" "$step" 2>/dev/null &
}

attempt() {
    local -a good
    local use
    mapfile -t good < <(answering | sort -V)
    if ((${#good[@]} < min_nodes)); then
        say "${#good[@]} nodes answer, too few to go on: back into the queue"
        requeue
    fi
    good=("${good[@]:0:nodes}")
    use=$(IFS=, && echo "${good[*]}")
    say "on $use"
    WHOLEGRAIN_NOTES=$notes srun --overlap --kill-on-bad-exit=1 --wait=0 --nodes="${#good[@]}" \
        --ntasks="$((${#good[@]} * ranks_per_node))" --ntasks-per-node="$ranks_per_node" --nodelist="$use" \
        "${task_options[@]}" "$python" -m train run "${arguments[@]}" &
    local ranks=$!
    if ((${#good[@]} > 1)); then watch_over "${good[-1]}"; fi
    watch "$ranks"
    if ((${#good[@]} > 1)); then kill "$pulse"; fi
    for step in $(steps); do scancel --quiet --signal=KILL "$step"; done
}


# Attempts until the run's own artifact is there. `attempt` starts the ranks in the background and watches them; `end`
# ends them. The ranks leave notes in $notes, and those are believed, not a starter's exit code: srun was seen to end
# with 0 after a node had died, and torchrun ends with 1 whatever a rank has said.

say() { printf '%s %s\n' "$(date -u +%FT%TZ)" "$*" >&2; }

has_failed() { grep -qE '"exit_code": [1-9]' "$notes"/rank*.exit.json 2>/dev/null; }

# The code with which a rank said that it would fail again anywhere; nothing if none did.
fatal() { grep -hoE "\"exit_code\": ($fatal_codes)," "$notes"/rank*.exit.json 2>/dev/null | grep -oE '[0-9]+' | head -n 1; }

# No new beat for $stall_s seconds, or no first one for $start_s.
is_hung() {
    if compgen -G "$notes/rank*.beat.json" >/dev/null; then
        [[ -z $(find "$notes" -name 'rank*.beat.json' -newermt "-$stall_s seconds") ]]
    else
        ((SECONDS - began > start_s))
    fi
}

# A sleep that a trapped signal ends.
nap() { sleep "$1" & wait $!; }

# Waits for the starter of the ranks; a failed or hung rank ends them all at once.
watch() {
    while kill -0 "$1" 2>/dev/null; do
        if has_failed || is_hung; then
            # The others get a moment to say why they end.
            nap "$grace_s"
            end "$1"
        fi
        nap 1
    done
    wait "$1"
    say "the ranks' starter ended with $?"
}

stopped=
cd "$workdir" || exit 64
mkdir -p "$out" || exit 75
# Of an attempt whose script died with its node; who still writes there is of that attempt, and fails.
rm -rf "$out/.notes-$name"-*
while :; do
    # Says here what is wrong with the recipe or its data, and ends the job after too many attempts without progress.
    state=$("$python" -m launch attempt "${arguments[@]}") || exit
    say "$state"
    if [[ $state == finished* ]]; then exit 0; fi
    notes=$(mktemp -d "$out/.notes-$name-XXXXXX") || exit 75
    began=$SECONDS
    attempt
    # For `launch goodput`.
    printf '{"time": %s, "event": "attempt.ended"}\n' "$(date +%s.%N)" >>"$out/journal.jsonl"
    code=$(fatal)
    rm -rf "$notes"
    if [[ -n $code ]]; then
        say "a rank ended with exit code $code: it would fail again anywhere"
        exit "$code"
    fi
    if [[ -n $stopped ]]; then hand_back; fi
done
