"""Processes, devices and precision, by way of accelerate."""
