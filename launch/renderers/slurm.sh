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

