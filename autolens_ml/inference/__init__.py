"""Exactness: from any proposal and a likelihood to a posterior and evidence that can be trusted."""
