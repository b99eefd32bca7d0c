"""Capacity planning: a discrete-event simulation of the platform under a day's load, with the chart's scaling rules."""
