"""Data of the second preset's shape: a document archive's tables, its queue and its cached values."""

import base64
import json
import pickle
import time
import uuid
from collections.abc import Iterator

import redis

from tests.postgres_clients import ask

#: Messages that wait in the one queue of the site, and documents whose values are cached.
WAITING, CACHED = 7, 40
#: How long a worker has held a document: three times what the site gives a task, so that it is gone.
HELD_SECONDS = 5400
#: Django's cache keeps what belongs to a document for fifty minutes.
CACHED_SECONDS = 3000

DOCUMENTS, RESULTS, LOG_ENTRIES = 4000, 12_000, 60_000
#: Results that were dropped since the last VACUUM.
DEAD = RESULTS * 3 // 4
#: Lookups in the cache, of which every fourth finds nothing.
LOOKUPS = 4000

# Columns and indexes as the migrations of 2.x leave them, of the tables that grow or say what it is.
_TABLES = """
CREATE TABLE django_migrations (id serial PRIMARY KEY, app varchar(255), name varchar(255), applied timestamptz);
CREATE TABLE django_content_type (id serial PRIMARY KEY, app_label varchar(100), model varchar(100));
CREATE TABLE auth_user (id serial PRIMARY KEY, username varchar(150) UNIQUE, last_login timestamptz);
CREATE TABLE documents_correspondent (
    id serial PRIMARY KEY, name varchar(128) NOT NULL, match varchar(256) NOT NULL,
    matching_algorithm int NOT NULL, is_insensitive bool NOT NULL, owner_id int REFERENCES auth_user
);
CREATE TABLE documents_documenttype (
    id serial PRIMARY KEY, name varchar(128) NOT NULL, match varchar(256) NOT NULL,
    matching_algorithm int NOT NULL, is_insensitive bool NOT NULL, owner_id int REFERENCES auth_user
);
CREATE TABLE documents_tag (
    id serial PRIMARY KEY, name varchar(128) NOT NULL, color varchar(7) NOT NULL, match varchar(256) NOT NULL,
    matching_algorithm int NOT NULL, is_insensitive bool NOT NULL, is_inbox_tag bool NOT NULL,
    owner_id int REFERENCES auth_user
);
CREATE TABLE documents_document (
    id serial PRIMARY KEY, correspondent_id int REFERENCES documents_correspondent,
    document_type_id int REFERENCES documents_documenttype, owner_id int REFERENCES auth_user,
    title varchar(128) NOT NULL, content text NOT NULL, mime_type varchar(256) NOT NULL,
    checksum varchar(32) NOT NULL UNIQUE, archive_checksum varchar(32), page_count int,
    created timestamptz NOT NULL, modified timestamptz NOT NULL, added timestamptz NOT NULL,
    storage_type varchar(11) NOT NULL, filename varchar(1024) UNIQUE, archive_filename varchar(1024) UNIQUE,
    original_filename varchar(1024), archive_serial_number int UNIQUE, deleted_at timestamptz
);
CREATE INDEX documents_document_correspondent_id_6164eb0c ON documents_document (correspondent_id);
CREATE INDEX documents_document_document_type_id ON documents_document (document_type_id);
CREATE INDEX documents_document_owner_id ON documents_document (owner_id);
CREATE INDEX documents_document_title_d9a75282 ON documents_document (title);
CREATE INDEX documents_document_title_d9a75282_like ON documents_document (title varchar_pattern_ops);
CREATE INDEX documents_document_created_bedd0818 ON documents_document (created);
CREATE INDEX documents_document_modified_9b7d7ee5 ON documents_document (modified);
CREATE INDEX documents_document_added ON documents_document (added);
CREATE TABLE documents_document_tags (
    id serial PRIMARY KEY, document_id int NOT NULL REFERENCES documents_document,
    tag_id int NOT NULL REFERENCES documents_tag, UNIQUE (document_id, tag_id)
);
CREATE INDEX documents_document_tags_document_id ON documents_document_tags (document_id);
CREATE INDEX documents_document_tags_tag_id ON documents_document_tags (tag_id);
CREATE TABLE documents_savedview (id serial PRIMARY KEY, name varchar(128) NOT NULL, owner_id int);
CREATE TABLE documents_note (
    id serial PRIMARY KEY, note text NOT NULL, created timestamptz NOT NULL,
    document_id int REFERENCES documents_document, user_id int REFERENCES auth_user
);
CREATE TABLE documents_paperlesstask (
    id serial PRIMARY KEY, task_id varchar(255) NOT NULL UNIQUE, task_file_name varchar(255),
    task_name varchar(255), status varchar(30) NOT NULL, date_created timestamptz, date_done timestamptz,
    result text, acknowledged bool NOT NULL
);
CREATE TABLE paperless_mail_mailaccount (id serial PRIMARY KEY, name varchar(256) UNIQUE, imap_server varchar(256));
CREATE TABLE paperless_mail_mailrule (
    id serial PRIMARY KEY, name varchar(256) NOT NULL, account_id int REFERENCES paperless_mail_mailaccount
);
CREATE TABLE guardian_userobjectpermission (
    id serial PRIMARY KEY, object_pk varchar(255) NOT NULL, content_type_id int REFERENCES django_content_type,
    permission_id int NOT NULL, user_id int REFERENCES auth_user
);
CREATE TABLE django_celery_results_taskresult (
    id serial PRIMARY KEY, task_id varchar(255) NOT NULL UNIQUE, status varchar(50) NOT NULL,
    content_type varchar(128) NOT NULL, content_encoding varchar(64) NOT NULL, result text,
    date_done timestamptz NOT NULL, traceback text, meta text, task_args text, task_kwargs text,
    task_name varchar(255), worker varchar(100), date_created timestamptz NOT NULL, periodic_task_name varchar(255)
);
CREATE INDEX django_cele_task_na_08aec9_idx ON django_celery_results_taskresult (task_name);
CREATE INDEX django_cele_status_9b6201_idx ON django_celery_results_taskresult (status);
CREATE INDEX django_cele_worker_d54dd8_idx ON django_celery_results_taskresult (worker);
CREATE INDEX django_cele_date_cr_f04a50_idx ON django_celery_results_taskresult (date_created);
CREATE INDEX django_cele_date_do_f59aad_idx ON django_celery_results_taskresult (date_done);
CREATE TABLE auditlog_logentry (
    id serial PRIMARY KEY, object_pk varchar(255) NOT NULL, object_id bigint, object_repr text NOT NULL,
    action smallint NOT NULL, changes jsonb, timestamp timestamptz NOT NULL, actor_id int REFERENCES auth_user,
    content_type_id int NOT NULL REFERENCES django_content_type, remote_addr inet, additional_data jsonb
);
CREATE INDEX auditlog_logentry_object_pk_6e3219c0 ON auditlog_logentry (object_pk);
CREATE INDEX auditlog_logentry_object_id_09c2eee8 ON auditlog_logentry (object_id);
CREATE INDEX auditlog_logentry_actor_id_959271d2 ON auditlog_logentry (actor_id);
CREATE INDEX auditlog_logentry_content_type_id_75830218 ON auditlog_logentry (content_type_id);
CREATE INDEX auditlog_logentry_action_229afe39 ON auditlog_logentry (action);
CREATE INDEX auditlog_logentry_timestamp_37867bb0 ON auditlog_logentry (timestamp);
"""
_ROWS = f"""
INSERT INTO django_migrations (app, name, applied) VALUES ('documents', '0001_initial', now());
INSERT INTO auth_user (username) VALUES ('ann'), ('bob');
INSERT INTO django_content_type (app_label, model) VALUES ('documents', 'document');
INSERT INTO documents_correspondent (name, match, matching_algorithm, is_insensitive)
    SELECT 'correspondent ' || n, '', 6, true FROM generate_series(1, 60) AS n;
INSERT INTO documents_documenttype (name, match, matching_algorithm, is_insensitive)
    SELECT 'type ' || n, '', 6, true FROM generate_series(1, 12) AS n;
INSERT INTO documents_tag (name, color, match, matching_algorithm, is_insensitive, is_inbox_tag)
    SELECT 'tag ' || n, '#a6cee3', '', 6, true, n = 1 FROM generate_series(1, 40) AS n;
INSERT INTO documents_document (
    correspondent_id, document_type_id, owner_id, title, content, mime_type, checksum, page_count, created,
    modified, added, storage_type, filename, archive_serial_number
) SELECT 1 + n % 60, 1 + n % 12, 1, 'invoice ' || n, repeat(md5(n::text) || ' ', 20), 'application/pdf',
    md5('c' || n), 2, now() - make_interval(hours => n), now(), now(), 'unencrypted',
    to_char(n, 'FM0000000') || '.pdf', n FROM generate_series(1, {DOCUMENTS}) AS n;
INSERT INTO documents_document_tags (document_id, tag_id)
    SELECT n, 1 + (n + k) % 40 FROM generate_series(1, {DOCUMENTS}) AS n, generate_series(1, 3) AS k;
INSERT INTO django_celery_results_taskresult (
    task_id, status, content_type, content_encoding, result, date_done, meta, task_name, worker, date_created
) SELECT md5('t' || n), 'SUCCESS', 'application/json', 'utf-8', '"Success. New document id created"',
    now() - make_interval(mins => n), '{{"children": []}}', 'documents.tasks.consume_file', 'celery@paperless',
    now() - make_interval(mins => n) FROM generate_series(1, {RESULTS}) AS n;
INSERT INTO auditlog_logentry (
    object_pk, object_id, object_repr, action, changes, timestamp, actor_id, content_type_id
) SELECT 1 + n % {DOCUMENTS}, 1 + n % {DOCUMENTS}, repeat(md5(n::text), 6), 1,
    jsonb_build_object('content', jsonb_build_array(md5(n::text), md5('b' || n), md5('a' || n))),
    now() - make_interval(mins => n), 1, 1 FROM generate_series(1, {LOG_ENTRIES}) AS n;
"""


def fill_database(url: str) -> None:
    """Make the tables, and what ails such a site.

    Of the results of its tasks most were dropped and nobody vacuumed since. The log of changes was cut, and
    vacuumed: its pages are mostly free. Two indexes were made by hand: one is there already, and nothing
    reads the other, which the log has left mostly free as well.
    """
    ask(url, _TABLES)
    ask(url, _ROWS)
    ask(url, "VACUUM ANALYZE")
    ask(url, "CREATE INDEX by_hand_created ON documents_document (created)")
    ask(url, "CREATE INDEX by_hand_repr ON auditlog_logentry (object_repr)")
    ask(url, "DELETE FROM auditlog_logentry WHERE id % 5 > 0")
    ask(url, "VACUUM ANALYZE auditlog_logentry")
    ask(url, "DELETE FROM django_celery_results_taskresult WHERE id % 4 > 0")
    ask(url, "SELECT pg_stat_force_next_flush()")


def fill_redis(client: redis.Redis, prefix: str = "") -> None:
    """Let messages wait in the queue, a worker hold one, and fill the cache and look things up in it.

    All of it lies behind the ``prefix`` of the site (PAPERLESS_REDIS_PREFIX).
    """
    client.sadd(f"{prefix}_kombu.binding.celery", "celery\x06\x16\x06\x16celery")
    client.sadd(
        f"{prefix}_kombu.binding.celery.pidbox", "\x06\x16\x06\x16celery@paperless.celery.pidbox"
    )
    client.rpush(f"{prefix}celery", *(_message(number) for number in range(WAITING)))
    held = str(uuid.uuid4())
    client.hset(f"{prefix}unacked", held, json.dumps([json.loads(_message(99)), "", "celery"]))
    client.zadd(f"{prefix}unacked_index", {held: time.time() - HELD_SECONDS})
    pipeline = client.pipeline(transaction=False)
    for name in _cached():
        pipeline.set(f"{prefix}:1:{name}", pickle.dumps(name), ex=CACHED_SECONDS)
    for number in range(LOOKUPS):
        document = number % CACHED if number % 4 else CACHED + number
        pipeline.get(f"{prefix}:1:doc_{document}_metadata")
    pipeline.execute()


def _cached() -> Iterator[str]:
    """Yield what the site calls its cached values; Django writes prefix and version before it."""
    for number in range(CACHED):
        yield from (
            f"doc_{number}_{what}" for what in ("metadata", "suggest", "thumbnail_modified")
        )
    yield from (f"classifier_{what}" for what in ("version", "hash", "modified"))


def _message(number: int) -> str:
    """Return an envelope of kombu with a pickled body, as the site's serializer makes it."""
    body = base64.b64encode(pickle.dumps(((f"scan-{number}.pdf",), {}, {}))).decode()
    tag = str(uuid.UUID(int=number))
    return json.dumps(
        {
            "body": body,
            "content-encoding": "binary",
            "content-type": "application/x-python-serialize",
            "headers": {"lang": "py", "task": "documents.tasks.consume_file", "id": tag},
            "properties": {
                "body_encoding": "base64",
                "delivery_info": {"exchange": "", "routing_key": "celery"},
                "delivery_tag": tag,
                "priority": 0,
            },
        }
    )
