"""What a run is asked to be: its task, recipe, method and study, found by name, with settings changed by --set."""
