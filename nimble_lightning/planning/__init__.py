"""What training would take, before any device does it: one step is traced, and the rest is arithmetic."""
