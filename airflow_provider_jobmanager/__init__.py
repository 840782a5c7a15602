"""An Apache Airflow provider that runs Azure Batch job manager tasks."""

__version__ = "0.1.0"
