"""What a leg does with its audio: one module per app, found by name through the registry."""
