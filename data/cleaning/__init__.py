"""The phases of stage clean, each a step of data.engine: takes fetched files, gives the parts of the clean artifact."""
