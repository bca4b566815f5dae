"""What follows a run: its record, account, exports, page and last message."""
