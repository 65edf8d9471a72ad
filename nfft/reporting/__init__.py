"""A run as others see it: card, plots, and the way to the Hub."""
