"""Asterisk's management side: AMI and ARI clients, channel tracking, dialplan text. Places no calls."""
