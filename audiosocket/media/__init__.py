"""Audio as bytes: PCM and G.711, resampling, playout, WAV, codec detection; no Twisted but Deferreds in `sound_cache`."""
