"""HTTP: routes, access checks, requests, responses."""
