"""What training would take, before any device does it: one step is traced without memory, the rest is arithmetic."""
