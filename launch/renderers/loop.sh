# Attempts until the run's own artifact is there. `attempt` starts the ranks in the background and watches them; `end`
# ends them. The ranks leave notes in $notes, and those are believed, not a starter's exit code: srun was seen to end
# with 0 after a node had died, and torchrun ends with 1 whatever a rank has said.

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
