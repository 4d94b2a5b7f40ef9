"""Files to raw documents: archives, compression, WARC, web pages, tables and lines. Takes bytes, decides nothing."""
