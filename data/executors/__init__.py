"""datatrove's executors, one module each: takes a data.engine.Job and the numbers of tasks, gives their results."""
