"""Sensor for Azure Batch job manager tasks."""
