"""The pure modules: they import the standard library and other pure modules only, and have no time and no I/O.

Their tests cover every line. ``python -m tests.support.pure_modules`` prints their files for coverage.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: Modules and packages of `audiosocket`.
PURE = (
    "errors json_shapes wire proxy_header extensions media.codec_likelihood media.codec_probe media.pcm "
    "media.playout media.playout_queue media.playout_state media.stereo_alignment media.wav asterisk.dialplan "
    "asterisk.dialplan_templates asterisk.channel_names asterisk.ami.wire asterisk.ari.events "
    "asterisk.ari.channel_events "
    "calls.journal_records calls.journal_replay calls.call_limits calls.event_quota calls.sound calls.timeline "
    "calls.protocol.handshake calls.protocol.intake calls.protocol.pace "
    "calls.journal_compaction calls.outcomes returncalls.templates transport.timeouts outbound.backoff "
    "runtime.event_feed runtime.rate_limit postgres.connect_errors "
    "workers.affinity bots.events bots.json_text bots.twilio bots.asterisk_ws "
    "bots.openai_realtime media.late_audio "
    "provisioning.toml_lines apps.porteiro.words apps.porteiro.visit apps.porteiro.script "
    "fleet.own_calls fleet.call_statements fleet.identity fleet.node_table fleet.writes "
    "event_webhook.batches apps.porteiro.asking apps.porteiro.dialogue gate.record"
)


def files() -> list[str]:
    """Return the files of the pure modules, relative to the checkout; of a package a pattern."""
    paths = [Path("audiosocket", *name.split(".")) for name in PURE.split()]
    return [f"{path}/*.py" if (ROOT / path).is_dir() else f"{path}.py" for path in paths]


if __name__ == "__main__":
    print(",".join(files()))
