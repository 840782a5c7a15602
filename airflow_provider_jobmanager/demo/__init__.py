"""See it work: a local Batch service and an Airflow of its own, put together on one machine."""
