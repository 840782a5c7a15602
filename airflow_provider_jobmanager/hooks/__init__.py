"""Hook for Azure Batch job manager tasks."""
