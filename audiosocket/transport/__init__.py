"""Sockets and time of the audio path: epoll, direct writes, the 20 ms clock, time-outs. Knows no protocol."""
