"""Jobs as text: pure functions from configuration to a script or a manifest for someone else's scheduler.

Takes: a recipe's name, its overrides and section `launch`. Gives: text. Imports: core, launch.
"""
