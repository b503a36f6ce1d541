"""Measurements whose figures the README gives; nothing here is installed."""
