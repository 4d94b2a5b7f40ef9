"""Drills: faults of every class, drawn from a seed and injected for real into runs under keepers.

Takes: a recipe's arguments and section `launch.drill`. Gives: a report. Imports: core, launch.
"""
