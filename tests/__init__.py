"""Tests of the provider and of the local Batch service."""
