"""What runs inside a real Airflow for the tests of the cluster policy."""
