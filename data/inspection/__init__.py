"""Takes finished artifacts of data/'s stages, gives a page that a person can look at; nothing imports it."""
