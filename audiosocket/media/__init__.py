"""Audio as bytes: PCM and G.711, resampling, playout, WAV, codec detection.

No Twisted but the Deferreds of `sound_cache`.
"""
