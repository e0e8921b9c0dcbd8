"""Opening the gate once per authorised call: signed webhook, keys through AMI, journal and audit file."""
