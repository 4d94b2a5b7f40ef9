"""Side by side with peers, in one run on the same documents. May import anything, tests included; nobody imports it."""
