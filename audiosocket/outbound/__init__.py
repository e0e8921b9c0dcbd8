"""Connections this server makes: DNS, HTTP, WebSocket, backoff."""
