"""The demo agent: a small CLI that behaves like an agent CLI, without a model or a network.

It is run as a program of its own (`agent.py`) and shares nothing with the rest of the project.
"""
