say() { printf '%s %s\n' "$(date -u +%FT%TZ)" "$*" >&2; }

# A sleep that a trapped signal ends.
nap() { sleep "$1" & wait $!; }
