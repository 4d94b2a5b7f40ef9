"""Starts processes; imports no stage.

Takes: a recipe. Gives: the stages' artifacts, made by processes that may die and are started again. Imports: core.
"""
