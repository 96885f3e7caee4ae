"""Entry points that measure: the demo, the shipped warm start, and the same work against peers."""
