"""Extra links for Azure Batch job manager tasks."""
