"""Names of objects in the store, spelled here and nowhere else.

`scope` is "" for work that everybody shares, or `alone(id, run)` where reuse was switched off.
Whatever reaches a name from outside is checked first: nothing can climb out of its prefix.
"""

import hashlib
import re
import secrets
import time
from typing import NamedTuple

from shared.errors import Invalid, NotFound

ACTIVE = "active/"
INDEX = "index/"
EXPERIMENTS = "experiments/"
DATASETS = "datasets/"
BY_DIGEST = "datasets/by-digest/"
REPAIRS = "repairs/"
TOKENS = "tokens/by-id/"
WEBHOOKS = "webhooks/by-id/"
DELETED_WEBHOOKS = "webhooks/deleted/"
COPIES = "copies/"
SEGMENTS = "segments/"
MEASUREMENTS = "measurements/"
BLOBS = "blobs/"
CLAIMS = "idempotency/"
TAGGED = "tagged/"
MIRRORS = "mirrors/mlflow/"
DELETED, DELETING = "deleted/", "deleting/"
FREED = "freed/last"
"""Another one each time that states were removed."""
TIME_BITS = 48

# `fullmatch`: `$` would let a trailing newline pass.
_WORD = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,119}")
_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_EXPERIMENT = re.compile(r"[0-9a-f]{24}")
_TOKEN = re.compile(r"[0-9a-f]{20}")
_MESSAGE = re.compile(r"[0-9a-f]{36}")

_SCOPE = r"(?P<scope>(?:experiments/[0-9a-f]{24}/alone/[^/]+/)?)"
_ID, _KEY, _NAME = r"(?P<id>[0-9a-f]{24})", r"(?P<key>[0-9a-f]{64})", r"(?P<word>[^/]+)"
_HOOK = r"(?P<word>[0-9a-f]{20})"
_KINDS = {
    kind: re.compile(pattern)
    for kind, pattern in {
        "manifest": rf"{_SCOPE}segments/{_KEY}/manifest\.json",
        "within": rf"{_SCOPE}segments/{_KEY}/within\.json",
        "collected": rf"{_SCOPE}segments/{_KEY}/collected\.json",
        "attempt": rf"{_SCOPE}segments/{_KEY}/(?:line-)?attempts/{_ID}-{_NAME}\.json",
        "measurement": rf"{_SCOPE}measurements/{_KEY}/(?P<word>[0-9a-f]{{64}})\.json",
        "blob": rf"blobs/{_KEY}",
        "spec": rf"experiments/{_ID}/spec\.json",
        "plan": rf"experiments/{_ID}/plan\.json",
        "outcome": rf"experiments/{_ID}/outcome\.json",
        "tags": rf"experiments/{_ID}/tags\.json",
        "link": rf"experiments/{_ID}/measurements/(?P<word>[0-9a-f]{{24}})\.json",
        "fork": rf"experiments/{_ID}/forks/(?P<word>[0-9a-f]{{24}})",
        "copy": r"copies/(?P<word>.+\.json)",
        "token": r"tokens/.+\.json",
        "webhook": rf"webhooks/by-id/{_HOOK}\.json",
        "webhook end": rf"webhooks/(disabled|deleted)/{_HOOK}\.json",
        "due": rf"webhooks/due/{_HOOK}/[0-9a-f]{{12}}-[0-9a-f]{{12}}{_ID}",
        "delivery": rf"webhooks/deliveries/{_HOOK}/[0-9a-f]{{12}}-{_ID}\.json",
        "repair": rf"repairs/{_ID}-(?P<word>0|[1-9][0-9]{{0,8}})",
        "index": rf"index/[0-9a-f]{{12}}-{_ID}",
        "active": rf"active/{_ID}",
        "tagged": rf"tagged/{_ID}",
        "mirror": rf"mirrors/mlflow/{_ID}\.json",
        "mirror position": r"mirrors/mlflow/position\.json",
        "deleted": rf"deleted/{_ID}",
        "deleting": rf"deleting/{_ID}",
        "claim": r"idempotency/(?P<word>[^/]+/[0-9a-f]{64})\.json",
        "dataset use": rf"datasets/by-digest/{_KEY}/used-by/{_ID}",
        "dataset manifest": rf"datasets/by-digest/{_KEY}/manifest\.json",
        "dataset file": rf"datasets/by-digest/{_KEY}/{_NAME}",
        "dataset": rf"datasets/{_NAME}\.json",
    }.items()
}


def new_experiment_id() -> str:
    """Twelve hex digits of milliseconds, twelve of chance: ids sort by time and are not guessed."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"


def created(id: str) -> float:
    """When an experiment's id was made, in seconds since 1970."""
    return int(_experiment(id)[:12], 16) / 1000


def age_of(id: str) -> float:
    """Seconds since then."""
    return time.time() - created(id)


def experiment_object(id: str, name: str) -> str:
    return f"{EXPERIMENTS}{_experiment(id)}/{_path(name)}"


def copy(name: str) -> str:
    """Of an object that nothing can compute again."""
    return f"{COPIES}{_path(name)}"


def alone(id: str, run: str) -> str:
    """The scope of a run that shares nothing."""
    return f"{EXPERIMENTS}{_experiment(id)}/alone/{_word(run)}/"


def namesake(scope: str) -> str | None:
    """The experiment that a run which shares nothing is named by."""
    return _experiment(scope.split("/")[1]) if scope else None


def measurement_jobs(id: str) -> str:
    """Prefix of what links an experiment to the jobs that measure it later."""
    return experiment_object(id, "measurements") + "/"


def measurement_job(id: str, job: str) -> str:
    return f"{measurement_jobs(id)}{_experiment(job)}.json"


def job_of(name: str) -> str:
    """The job that such a link speaks of."""
    return _experiment(name.rsplit("/", 1)[-1].removesuffix(".json"))


def tags(id: str) -> str:
    """What may still be changed about an experiment."""
    return experiment_object(id, "tags.json")


def tagged(id: str) -> str:
    """Marks that there is such an object: most experiments have none, and are not asked."""
    return f"{TAGGED}{_experiment(id)}"


def deleted(id: str) -> str:
    """Says that the experiment was deleted, and stays."""
    return f"{DELETED}{_experiment(id)}"


def deleting(id: str) -> str:
    """Says that something of it may be left."""
    return f"{DELETING}{_experiment(id)}"


def retries(id: str) -> str:
    """Prefix of what links an experiment to those that try it again."""
    return experiment_object(id, "retries") + "/"


def retry(id: str, again: str) -> str:
    return f"{retries(id)}{_experiment(again)}"


def forks(id: str) -> str:
    """Prefix of what links an experiment to those that go on from a run of it."""
    return experiment_object(id, "forks") + "/"


def fork(id: str, made: str) -> str:
    return f"{forks(id)}{_experiment(made)}"


def active_marker(id: str) -> str:
    return f"{ACTIVE}{_experiment(id)}"


def index_entry(id: str) -> str:
    """Time counted backwards, so that a plain listing gives the newest first."""
    milliseconds = int(_experiment(id)[:12], 16)
    return f"{INDEX}{(1 << TIME_BITS) - 1 - milliseconds:012x}-{id}"


def experiment_of(name: str) -> str:
    """The experiment that a marker or an index entry speaks of."""
    return _experiment(name.rsplit("/", 1)[-1].rsplit("-", 1)[-1])


def mirror(id: str) -> str:
    """How far an experiment is mirrored to an MLflow server."""
    return f"{MIRRORS}{_experiment(id)}.json"


def mirror_position() -> str:
    """How far the mirror is: which experiments it has still to look at. Listed after the others."""
    return f"{MIRRORS}position.json"


def mirrored(name: str) -> str:
    """The experiment that such a cursor speaks of."""
    return _experiment(name.rsplit("/", 1)[-1].removesuffix(".json"))


def earliest(moment: float) -> str:
    """Comes before every experiment id made at this moment (seconds since 1970) or later."""
    return f"{max(0, int(moment * 1000)):012x}"


def idempotency(principal: str, key: str) -> str:
    return f"{CLAIMS}{_word(principal)}/{hashlib.sha256(key.encode()).hexdigest()}.json"


def new_token_id() -> str:
    """As an experiment's, with eight digits of chance: it is no secret. Of webhooks too."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(4)}"


def token(id: str) -> str:
    return f"{TOKENS}{_token(id)}.json"


def token_of(name: str) -> str:
    return _token(name.rsplit("/", 1)[-1].removesuffix(".json"))


def revocation(token: str) -> str:
    return f"tokens/revoked/{_token(token)}.json"


def ledger(token: str) -> str:
    """Prefix of what a token was charged with, entry after entry."""
    return f"tokens/ledgers/{_token(token)}/"


def ledger_entry(token: str, number: int) -> str:
    """Listed in the order of their numbers."""
    return f"{ledger(token)}{number:012d}.json"


def webhook(id: str) -> str:
    return f"{WEBHOOKS}{_webhook(id)}.json"


def webhook_of(name: str) -> str:
    """That such a name, or one of those below, speaks of."""
    return _webhook(name.rsplit("/", 1)[-1].removesuffix(".json"))


def webhook_created(id: str) -> int:
    """When its id was made, in milliseconds since 1970."""
    return int(_webhook(id)[:12], 16)


def webhook_disabled(id: str) -> str:
    return f"webhooks/disabled/{_webhook(id)}.json"


def webhook_deleted(id: str) -> str:
    """Says that what is left of a webhook can go."""
    return f"{DELETED_WEBHOOKS}{_webhook(id)}.json"


def message(at: int, id: str) -> str:
    """Twelve hex digits of milliseconds and an experiment's id, or what looks like one: what there
    is to be told of it at that moment."""
    return _message(f"{at:012x}{id}")


def message_time(message: str) -> int:
    """In milliseconds since 1970."""
    return int(_message(message)[:12], 16)


def told_of(message: str) -> str:
    """The experiment that a message speaks of."""
    return _message(message)[12:]


def all_due(webhook: str) -> str:
    """Prefix of what is to be told at a webhook, in the order of when."""
    return f"webhooks/due/{_webhook(webhook)}/"


def due(webhook: str, at: int, message: str) -> str:
    """Marks that a message is to be sent, not before `at`, in milliseconds since 1970."""
    return f"{all_due(webhook)}{at:012x}-{_message(message)}"


def due_of(name: str) -> tuple[int, str]:
    """When, and which message."""
    at, message = name.rsplit("/", 1)[-1].split("-")
    return int(at, 16), _message(message)


def deliveries(webhook: str) -> str:
    """Prefix of what was told at a webhook, newest first."""
    return f"webhooks/deliveries/{_webhook(webhook)}/"


def delivery(webhook: str, message: str) -> str:
    backwards = (1 << TIME_BITS) - 1 - message_time(message)
    return f"{deliveries(webhook)}{backwards:012x}-{told_of(message)}.json"


def manifest(scope: str, key: str) -> str:
    return f"{_scope(scope)}segments/{_digest(key)}/manifest.json"


def within(scope: str, key: str) -> str:
    """From the key of an epoch inside a segment to the key of the segment that covers it."""
    return f"{_scope(scope)}segments/{_digest(key)}/within.json"


def collected(scope: str, key: str) -> str:
    """Says that the checkpoint of a state was removed because nothing needed it."""
    return f"{_scope(scope)}segments/{_digest(key)}/collected.json"


def attempts_prefix(scope: str, key: str, line: bool = False) -> str:
    """`line`: at measuring a line from this state to another run's, not at training up to it."""
    return f"{_scope(scope)}segments/{_digest(key)}/{'line-' if line else ''}attempts/"


def preparation_prefix(id: str, dataset: str) -> str:
    return experiment_object(id, f"preparation/{_word(dataset)}") + "/"


def repair(id: str, index: int) -> str:
    """Marks that a segment of an experiment's plan is to be verified and mended."""
    return f"{REPAIRS}{_experiment(id)}-{index}"


def repair_of(name: str) -> tuple[str, int] | None:
    """The experiment and the index that such a mark speaks of. None where it is no such mark."""
    found = parts(name)
    return (found.id, int(found.word)) if found.kind == "repair" else None


def repair_attempts_prefix(id: str, index: int) -> str:
    return f"repair-attempts/{_experiment(id)}-{index}/"


def attempt(prefix: str, name: str) -> str:
    return f"{prefix}{_word(name)}.json"


def blob(sha: str) -> str:
    return f"{BLOBS}{_digest(sha)}"


def measurements(scope: str, key: str) -> str:
    """Prefix of all that was measured of a state."""
    return f"{_scope(scope)}measurements/{_digest(key)}/"


def measurement(scope: str, key: str, digest: str) -> str:
    return f"{measurements(scope, key)}{_digest(digest)}.json"


def probe_of(name: str) -> str:
    """The digest of the probe that a measurement was made with."""
    return _digest(name.rsplit("/", 1)[-1].removesuffix(".json"))


def dataset_pointer(name: str) -> str:
    return f"{DATASETS}{_word(name)}.json"


def dataset_object(digest: str, file: str) -> str:
    return f"{BY_DIGEST}{_digest(digest)}/{_word(file)}"


def dataset_uses(digest: str) -> str:
    return f"{BY_DIGEST}{_digest(digest)}/used-by/"


def dataset_use(digest: str, id: str) -> str:
    """Marks that an experiment was accepted on this data."""
    return f"{dataset_uses(digest)}{_experiment(id)}"


def probe(word: str) -> str:
    """What the start-up check writes and removes."""
    return f"probe/{_word(word)}"


class Parts(NamedTuple):
    """What an object's name says."""

    kind: str
    """"other" for what is not among `_KINDS`."""
    scope: str = ""
    id: str = ""
    key: str = ""
    word: str = ""


def parts(name: str) -> Parts:
    for kind, pattern in _KINDS.items():
        if found := pattern.fullmatch(name):
            return Parts(kind, **found.groupdict())
    return Parts("other")


def checked(name: str) -> str:
    """An object's whole name, as the store's client takes it."""
    if len(name) > 1024:
        raise Invalid("An object's name has at most 1024 characters")
    return _path(name)


def _experiment(id: str) -> str:
    if not _EXPERIMENT.fullmatch(id):
        raise NotFound(f"There is no experiment {id[:80]!r}: an id is 24 hexadecimal digits")
    return id


def _token(id: str) -> str:
    if not _TOKEN.fullmatch(id):
        raise NotFound(f"There is no token {id[:80]!r}: an id is 20 hexadecimal digits")
    return id


def _webhook(id: str) -> str:
    if not _TOKEN.fullmatch(id):
        raise NotFound(f"There is no webhook {id[:80]!r}: an id is 20 hexadecimal digits")
    return id


def _message(text: str) -> str:
    return _matched(_MESSAGE, text, "36 hexadecimal digits")


def _digest(text: str) -> str:
    return _matched(_DIGEST, text, "64 hexadecimal digits")


def _word(text: str) -> str:
    return _matched(_WORD, text, "1 to 120 of A-Z a-z 0-9 _ . - that do not begin with a dot")


def _path(text: str) -> str:
    return _matched(_PATH, text, "words of A-Z a-z 0-9 _ . - between single slashes")


def _scope(text: str) -> str:
    if text and not (text.endswith("/") and _PATH.fullmatch(text[:-1])):
        raise Invalid(f"{text[:80]!r} is not a scope: expected nothing, or a path that ends in '/'")
    return text


def _matched(pattern: re.Pattern[str], text: str, expected: str) -> str:
    if not pattern.fullmatch(text):
        raise Invalid(f"{text[:80]!r} cannot be part of an object's name: expected {expected}")
    return text
