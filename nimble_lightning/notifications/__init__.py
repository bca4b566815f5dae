"""Events of a run, and how they reach people: outbox, sender, messages, services."""
