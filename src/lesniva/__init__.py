"""Lesniva: forest alerts and harvest forecasts for oblasts, from Sentinel imagery."""
