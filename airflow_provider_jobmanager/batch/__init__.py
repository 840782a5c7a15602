"""What Batch means: pure rules, no Airflow, no network, no clock of its own."""
