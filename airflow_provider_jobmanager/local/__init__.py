"""A Batch service on your machine: the REST API of Azure Batch, with tasks as real subprocesses.

Imports nothing of the provider, and the provider imports nothing of it.
"""
