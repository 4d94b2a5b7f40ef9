"""How open a release is, computed from what is really in it.

Takes: a bundle, or a folder of weights as others publish them. Gives: a report by component, the verdicts of several
definitions, and cards. Imports: core and the rest of release/.
"""
