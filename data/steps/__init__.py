"""What is done to documents: normal form, rules, languages, masking, near-duplicates, decontamination."""
