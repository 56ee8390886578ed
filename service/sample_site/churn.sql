-- The years of use that make maintenance necessary, condensed.
-- Statements run one by one, outside transactions, since VACUUM refuses to run inside one.
-- pg_stat_force_next_flush() before each VACUUM: rows whose deletion is still on its way to the
-- counters would otherwise be counted as dead after they are gone.

-- A site in good order first: every table vacuumed and analyzed, but for the one that never is.
SELECT pg_stat_force_next_flush();
VACUUM (ANALYZE) library_sitesettings, library_user, library_author, library_work,
    library_work_authors, library_edition, library_shelf, library_shelfbook, library_status,
    library_follow, library_notification, library_favorite, library_importjob, library_importitem,
    library_session, library_activity;

-- Bloated table, compact indexes: most rows of finished imports were deleted and the space kept.
DELETE FROM library_importitem WHERE pg_temp.pick(id, 80, 100) < 78;
SELECT pg_stat_force_next_flush();
VACUUM (TRUNCATE false) library_importitem;
REINDEX TABLE library_importitem;
ANALYZE library_importitem;

-- Bloated table and bloated index: expired sessions lay all over the random keys.
DELETE FROM library_session WHERE expire_date < %(as_of)s;
SELECT pg_stat_force_next_flush();
VACUUM (TRUNCATE false, ANALYZE) library_session;

-- Bloated indexes, compact table: old rows were thinned out, new rows took their room in the
-- table, but no new key ever falls into the half-empty pages of an index that only grows.
DELETE FROM library_activity WHERE pg_temp.pick(id, 81, 100) < 88;
SELECT pg_stat_force_next_flush();
VACUUM (TRUNCATE false) library_activity;
INSERT INTO library_activity (actor_id, activity_type, object_uri, received_date)
SELECT
    1 + pg_temp.pick_popular(i, 82, %(users)s),
    (ARRAY['Create', 'Announce', 'Like', 'Follow', 'Update', 'Delete'])[1 + pg_temp.pick(i, 83, 6)],
    format('https://remote.example/activity/%%s', md5(i::text)),
    %(as_of)s::timestamptz - make_interval(secs => (2 * %(activities)s - i) * 60)
FROM generate_series(%(activities)s + 1, %(activities)s + %(activities)s * 85 / 100) AS i;

-- Each duplicate that is refused burns a number: the int4 sequence nears its end unnoticed.
SELECT setval(pg_get_serial_sequence('library_activity', 'id'), %(sequence_position)s);
INSERT INTO library_activity (actor_id, activity_type, object_uri, received_date)
SELECT 1, 'Create', format('https://remote.example/activity/late-%%s', i), %(as_of)s::timestamptz
FROM generate_series(1, 40) AS i;
SELECT pg_stat_force_next_flush();
VACUUM (TRUNCATE false, ANALYZE) library_activity;

-- Dead rows and stale statistics: a status is saved twice, and its thread_id is indexed.
UPDATE library_status SET thread_id = coalesce(reply_parent_id, id)
WHERE pg_temp.pick(id, 84, 100) < 32;

-- The same, as readers come by: last_active_date is indexed, so no update is a HOT one.
UPDATE library_user SET last_active_date = last_active_date + interval '2 hours'
WHERE pg_temp.pick(id, 85, 100) < 35;

-- Dead rows under fresh statistics: old notifications were deleted, then the table analyzed.
DELETE FROM library_notification WHERE read AND pg_temp.pick(id, 86, 100) < 28;
SELECT pg_stat_force_next_flush();
ANALYZE library_notification;

-- Dead rows, but fewer than autovacuum's own rule asks for: healthy.
DELETE FROM library_favorite
WHERE status_id <= %(statuses)s AND pg_temp.pick(id, 87, 100) < 6;

-- Stale statistics, with fewer dead rows than make a VACUUM due: many unfollowed each other.
DELETE FROM library_follow WHERE pg_temp.pick(id, 92, 100) < 15;

-- Never analyzed, never vacuumed, all in one load.
INSERT INTO library_readthrough (user_id, edition_id, progress, start_date, finish_date)
SELECT
    1 + pg_temp.pick(i, 88, %(users)s),
    1 + pg_temp.pick_popular(i, 89, %(editions)s),
    pg_temp.pick(i, 90, 101),
    %(as_of)s::date - pg_temp.pick(i, 91, 1000) - 30,
    CASE WHEN pg_temp.pick(i, 90, 101) = 100 THEN %(as_of)s::date - pg_temp.pick(i, 91, 1000) END
FROM generate_series(1, %(readthroughs)s) AS i
ORDER BY 1, i;
ALTER TABLE library_readthrough
    ADD CONSTRAINT library_readthrough_user_id_fk FOREIGN KEY (user_id) REFERENCES library_user,
    ADD CONSTRAINT library_readthrough_edition_id_fk FOREIGN KEY (edition_id) REFERENCES library_edition;
SELECT pg_stat_force_next_flush();

-- Autovacuum may look after the tables again on which no planted fault depends.
ALTER TABLE library_sitesettings RESET (autovacuum_enabled);
ALTER TABLE library_author RESET (autovacuum_enabled);
ALTER TABLE library_work RESET (autovacuum_enabled, toast.autovacuum_enabled);
ALTER TABLE library_work_authors RESET (autovacuum_enabled);
ALTER TABLE library_edition RESET (autovacuum_enabled);
ALTER TABLE library_shelf RESET (autovacuum_enabled);
ALTER TABLE library_shelfbook RESET (autovacuum_enabled);
ALTER TABLE library_favorite RESET (autovacuum_enabled);
ALTER TABLE library_importjob RESET (autovacuum_enabled);
ALTER TABLE library_importitem RESET (autovacuum_enabled, toast.autovacuum_enabled);
ALTER TABLE library_session RESET (autovacuum_enabled, toast.autovacuum_enabled);
ALTER TABLE library_activity RESET (autovacuum_enabled);
