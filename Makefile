# python3 -m venv .venv && .venv/bin/pip install -e '.[test]' comes first; PYTHON names another environment.
PYTHON ?= .venv/bin/python

.PHONY: asterisk-tests asterisk-load
# The suite against a real Asterisk 22: as root, on Debian; builds its chroot the first time (about a minute).
asterisk-tests:
	$(PYTHON) -m tests.real_asterisk.chroot build
	AUDIOSOCKET_ASTERISK=require $(PYTHON) -m pytest -m asterisk tests/real_asterisk

# A hundred calls of a real Asterisk for two minutes, and when each of our frames left: prints figures, three minutes.
asterisk-load:
	$(PYTHON) -m tests.real_asterisk.chroot build
	$(PYTHON) -m tests.real_asterisk.load $(LOAD)
