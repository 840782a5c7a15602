"""Operator for Azure Batch job manager tasks."""
