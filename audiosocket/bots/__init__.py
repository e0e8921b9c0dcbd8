"""Voice bots over WebSocket: pure message codecs, one session per leg, one app per dialect."""
