"""Measurements that are committed as tables; they never assert a time."""
