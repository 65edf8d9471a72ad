"""Processes, devices and precision."""
