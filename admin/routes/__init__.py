"""HTTP routes by subject; each module adds its own with `add_routes`.

Success messages are in Portuguese, word for word those of the service this one replaces: scripts search for them.
Klein knows a route by the name of its function, which therefore is unique in the whole API.
"""
