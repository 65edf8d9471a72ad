"""Pictures of a run: its learning curves, which classes it takes for which, its images; drawn, then saved as PNG."""
