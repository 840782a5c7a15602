"""Trigger for Azure Batch job manager tasks."""
