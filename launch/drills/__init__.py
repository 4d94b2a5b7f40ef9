"""Drills: faults of every class, drawn from a seed, injected for real into runs under keepers; torch-free."""
