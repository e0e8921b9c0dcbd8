"""Audio as bytes: PCM and G.711, resampling, playout, WAV, codec detection.

Only `sound_cache` uses Twisted (Deferreds).
"""
