"""What every stage needs: errors, hashes, artifacts, ledger, journal, configuration, command line.

Takes: nothing. Gives: small, exact pieces that every folder may use. Imports: the standard library and hydra only.
"""
