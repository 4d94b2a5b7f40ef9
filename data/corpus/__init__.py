"""A corpus as a whole: its manifest, what people read of it, and the verbs that check, rebuild and redact it.

Takes the artifacts of the stages of data/. Gives manifest.json, CARD.md, croissant.json and leaves.jsonl (stage
manifest), verdicts (verbs verify and rebuild) and tombstones (verb redact). May import core and data.
"""
