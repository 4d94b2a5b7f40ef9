"""Keys, signed statements about bundles, and what third parties add.

Takes: a bundle and a key. Gives: DSSE envelopes in the bundle's `attestations/`, and what can be said of them.
Imports: core and the rest of release/.
"""
