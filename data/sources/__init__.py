"""Where text comes from: every kind of source, fetched by pinned identity, with its licence and the evidence for it."""
