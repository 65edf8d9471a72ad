"""What a run is to be: its task, recipe and method, or a study of many runs; by name, with --set on top."""
