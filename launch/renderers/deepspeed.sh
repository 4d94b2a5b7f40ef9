# Run it on the first node, from where ssh reaches the others without a password; DeepSpeed uses pdsh.
end() { kill -TERM -- "-$1" 2>/dev/null && nap "$grace_s" && kill -KILL -- "-$1" 2>/dev/null; }

hand_back() { exit 143; }

attempt() {
    printf '%s\n' "${hosts[@]}" >"$notes/hostfile"
    # What DeepSpeed passes on to the other nodes.
    { printf '%s\n' "${environment[@]}" && printf 'WHOLEGRAIN_NOTES=%s\n' "$notes"; } >"$notes/environment"
    # A process group of its own, so that nothing of it is left behind.
    set -m
    WHOLEGRAIN_NOTES=$notes DS_ENV_FILE=$notes/environment "$python" -c "$runner" --hostfile="$notes/hostfile" \
        --master_addr="$meet" --master_port="$port" --no_local_rank "${options[@]}" --module train run \
        "${arguments[@]}" &
    starter=$!
    set +m
    watch "$starter"
}

trap 'stopped=TERM; end "$starter"' TERM INT

