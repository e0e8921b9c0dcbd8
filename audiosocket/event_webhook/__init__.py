"""The server's events, sent to a webhook: signed, in batches, tried again, bounded."""
