# Runs on every node. The first one has the coordinator besides its keeper, and the coordinator's exit code is the run's.
mapfile -t addresses <<<"$SKYPILOT_NODE_IPS"
own=${addresses[$SKYPILOT_NODE_RANK]}
join=("$python" -m launch join "${arguments[@]}" --node="$own" --host="$own")
if ((SKYPILOT_NODE_RANK > 0)); then exec "${join[@]}"; fi

"$python" -m launch supervise "${arguments[@]}" --attempt launch.address="$own:$port" &
coordinator=$!
"${join[@]}" &
keeper=$!
# The step under way is finished and committed.
trap 'caught=yes; kill -TERM "$coordinator"' TERM
caught=yes
# A trapped signal ends a wait.
while [[ -n $caught ]]; do
    caught=
    wait "$coordinator"
    ended=$?
    # 127: it had been waited for already.
    if ((ended != 127)); then code=$ended; fi
done
# It has been told; but if the coordinator has refused the recipe, it waits for one.
kill "$keeper" 2>/dev/null
exit "$code"
