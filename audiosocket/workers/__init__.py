"""The same server over several processes: supervisor, workers, socket passing."""
