-- The rows of the site. Every choice is a hash of the row number, a salt of its own and the seed,
-- so that a seed always gives the same rows in the same order.

CREATE FUNCTION pg_temp.pick(row_number bigint, salt integer, choices integer) RETURNS integer
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN mod(hashint8extended(row_number, salt + 1000 * %(seed)s::bigint) & 9223372036854775807, choices);

-- A few of the choices take most of the picks, as with books and readers.
CREATE FUNCTION pg_temp.pick_popular(row_number bigint, salt integer, choices integer) RETURNS integer
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN floor(choices * power(pg_temp.pick(row_number, salt, 1000000) / 1000000.0::float8, 2.5));

INSERT INTO library_sitesettings (name, instance_tagline, registration_open, created_date)
VALUES ('Bücherzug', 'Lesen, teilen, weitergeben', true, %(as_of)s::timestamptz - interval '6 years');

INSERT INTO library_user (
    username, localname, name, email, summary, preferred_language, preferred_timezone,
    local, is_active, is_deleted, created_date, updated_date, last_active_date
)
SELECT
    format('%%s%%s@%%s', person.slug, i, server.text),
    format('%%s%%s', person.slug, i),
    person.text,
    -- Every 400th reader signed up again with the same address in capitals.
    CASE WHEN mod(i, 400) = 0
        THEN upper(format('%%s@%%s', i - 1, server.text))
        ELSE format('%%s@%%s', i, 'post.example')
    END,
    sentence.text,
    person.language,
    zone.text,
    server.id = 0,
    pg_temp.pick(i, 4, 100) < 90,
    pg_temp.pick(i, 4, 100) >= 96,
    %(as_of)s::timestamptz - make_interval(hours => 1000 + pg_temp.pick(i, 5, 50000)),
    %(as_of)s::timestamptz - make_interval(mins => pg_temp.pick(i, 6, 60000)),
    %(as_of)s::timestamptz - make_interval(mins => CASE
        WHEN pg_temp.pick(i, 4, 100) < 90 THEN pg_temp.pick(i, 7, 120000)
        ELSE 400000 + pg_temp.pick(i, 7, 120000)
    END)
FROM generate_series(1, %(users)s) AS i
JOIN pg_temp.vocabulary AS person ON person.kind = 'person' AND person.id = pg_temp.pick(i, 1, %(persons)s)
JOIN pg_temp.vocabulary AS server ON server.kind = 'server' AND server.id = pg_temp.pick_popular(i, 2, %(servers)s)
JOIN pg_temp.vocabulary AS zone ON zone.kind = 'zone' AND zone.id = pg_temp.pick(i, 3, %(zones)s)
JOIN pg_temp.vocabulary AS sentence ON sentence.kind = 'sentence' AND sentence.id = pg_temp.pick(i, 8, %(sentences)s)
ORDER BY i;

-- The address that each of them repeats.
UPDATE library_user SET email = lower(later.email)
FROM library_user AS later
WHERE mod(later.id, 400) = 0 AND library_user.id = later.id - 1;

INSERT INTO library_author (name, aliases, born_year, bio)
SELECT
    person.text,
    ARRAY[person.slug, initcap(replace(person.slug, '.', ' '))],
    1850 + pg_temp.pick(i, 10, 150),
    sentence.text
FROM generate_series(1, %(authors)s) AS i
JOIN pg_temp.vocabulary AS person ON person.kind = 'person' AND person.id = pg_temp.pick(i, 9, %(persons)s)
JOIN pg_temp.vocabulary AS sentence ON sentence.kind = 'sentence' AND sentence.id = pg_temp.pick(i, 11, %(sentences)s)
ORDER BY i;

-- One description in fifty is long enough to be stored out of line.
INSERT INTO library_work (title, sort_title, description, subjects, first_published_year, created_date)
SELECT
    title.text,
    lower(title.text),
    CASE WHEN pg_temp.pick(i, 13, 50) = 0
        THEN (SELECT string_agg(md5((i * 100 + part)::text), ' ') FROM generate_series(1, 90) AS part)
        ELSE first.text || ' ' || second.text
    END,
    ARRAY[title.language, split_part(title.slug, '-', 1)],
    1800 + pg_temp.pick(i, 16, 226),
    %(as_of)s::timestamptz - make_interval(hours => pg_temp.pick(i, 17, 50000))
FROM generate_series(1, %(works)s) AS i
JOIN pg_temp.vocabulary AS title ON title.kind = 'title' AND title.id = pg_temp.pick(i, 12, %(titles)s)
JOIN pg_temp.vocabulary AS first ON first.kind = 'sentence' AND first.id = pg_temp.pick(i, 14, %(sentences)s)
JOIN pg_temp.vocabulary AS second ON second.kind = 'sentence' AND second.id = pg_temp.pick(i, 15, %(sentences)s)
ORDER BY i;

INSERT INTO library_work_authors (work_id, author_id)
SELECT i, 1 + pg_temp.pick_popular(i, 18, %(authors)s) FROM generate_series(1, %(works)s) AS i;

INSERT INTO library_edition (
    work_id, title, subtitle, published_year, isbn_10, isbn_13, asin, oclc_number, language,
    publisher, pages, physical_format, series, series_number, description, cover, edition_rank,
    created_date, updated_date, origin_id, openlibrary_key, goodreads_key
)
SELECT
    work.id,
    work.title,
    title.text,
    work.first_published_year + pg_temp.pick(i, 21, 20),
    lpad(pg_temp.pick(i, 22, 1000000000)::text, 10, '3'),
    '9783' || lpad(pg_temp.pick(i, 23, 1000000000)::text, 9, '0'),
    CASE WHEN pg_temp.pick(i, 24, 3) = 0 THEN 'B0' || upper(left(md5(i::text), 8)) END,
    lpad(pg_temp.pick(i, 25, 100000000)::text, 9, '0'),
    title.language,
    publisher.text,
    60 + pg_temp.pick(i, 27, 900),
    (ARRAY['Paperback', 'Hardcover', 'EBook', 'AudiobookFormat'])[1 + pg_temp.pick(i, 28, 4)],
    CASE WHEN pg_temp.pick(i, 29, 5) = 0 THEN title.text END,
    CASE WHEN pg_temp.pick(i, 29, 5) = 0 THEN 1 + pg_temp.pick(i, 30, 12) END,
    sentence.text,
    format('covers/%%s.jpg', md5((i + %(seed)s)::text)),
    1 + pg_temp.pick(i, 32, 20),
    %(as_of)s::timestamptz - make_interval(hours => 2000 + pg_temp.pick(i, 33, 48000)),
    %(as_of)s::timestamptz - make_interval(hours => pg_temp.pick(i, 34, 2000)),
    format('https://catalogue.example/book/%%s', i),
    format('OL%%sM', 20000000 + i),
    format('%%s', 30000000 + pg_temp.pick(i, 35, 90000000))
FROM generate_series(1, %(editions)s) AS i
JOIN library_work AS work ON work.id = 1 + pg_temp.pick_popular(i, 19, %(works)s)
JOIN pg_temp.vocabulary AS title ON title.kind = 'title' AND title.id = pg_temp.pick(i, 20, %(titles)s)
JOIN pg_temp.vocabulary AS publisher ON publisher.kind = 'publisher' AND publisher.id = pg_temp.pick(i, 26, %(publishers)s)
JOIN pg_temp.vocabulary AS sentence ON sentence.kind = 'sentence' AND sentence.id = pg_temp.pick(i, 31, %(sentences)s)
ORDER BY i;

INSERT INTO library_shelf (user_id, identifier, name, privacy, editable, created_date)
SELECT
    i,
    shelf.identifier,
    shelf.name,
    (ARRAY['public', 'public', 'unlisted', 'followers', 'direct'])[1 + pg_temp.pick(i, 36, 5)],
    false,
    %(as_of)s::timestamptz - make_interval(hours => 1000 + pg_temp.pick(i, 5, 50000))
FROM generate_series(1, %(users)s) AS i
CROSS JOIN (VALUES ('to-read', 'Zu lesen'), ('reading', 'Lecture en cours'), ('read', '読了'))
    AS shelf (identifier, name)
ORDER BY i, shelf.identifier;

-- Each shelf takes one book from each stretch of the catalogue, so that no book is on it twice.
INSERT INTO library_shelfbook (user_id, shelf_id, edition_id, shelved_date)
SELECT
    1 + (shelf - 1) / 3,
    shelf,
    1 + stretch * (%(editions)s / 4) + pg_temp.pick_popular(shelf * 4 + stretch, 37, %(editions)s / 4),
    %(as_of)s::timestamptz - make_interval(mins => pg_temp.pick(shelf * 4 + stretch, 38, 2000000))
FROM generate_series(1, 3 * %(users)s) AS shelf
CROSS JOIN generate_series(0, 3) AS stretch
WHERE pg_temp.pick(shelf * 4 + stretch, 39, 100) < 50
ORDER BY stretch, shelf;

INSERT INTO library_status (
    user_id, status_type, content, content_warning, privacy, sensitive, deleted, rating, edition_id,
    reply_parent_id, remote_id, published_date
)
SELECT
    1 + pg_temp.pick_popular(i, 40, %(users)s),
    (ARRAY['Comment', 'Review', 'Quotation', 'ReviewRating', 'GeneratedNote'])[1 + pg_temp.pick(i, 41, 5)],
    first.text || ' ' || second.text || CASE WHEN pg_temp.pick(i, 44, 2) = 0 THEN ' ' || third.text ELSE '' END,
    CASE WHEN pg_temp.pick(i, 46, 12) = 0 THEN 'Spoiler' END,
    (ARRAY['public', 'public', 'public', 'unlisted', 'followers'])[1 + pg_temp.pick(i, 47, 5)],
    pg_temp.pick(i, 46, 12) = 0,
    pg_temp.pick(i, 48, 25) = 0,
    CASE WHEN pg_temp.pick(i, 41, 5) IN (1, 3) THEN 0.5 * (1 + pg_temp.pick(i, 49, 10)) END,
    CASE WHEN pg_temp.pick(i, 50, 4) > 0 THEN 1 + pg_temp.pick_popular(i, 51, %(editions)s) END,
    CASE WHEN i > 100 AND pg_temp.pick(i, 52, 10) < 3 THEN i - 1 - pg_temp.pick(i, 53, 99) END,
    format('https://buecherzug.example/user/%%s/status/%%s', 1 + pg_temp.pick_popular(i, 40, %(users)s), i),
    %(as_of)s::timestamptz - make_interval(secs => (%(statuses)s - i) * 600 + pg_temp.pick(i, 54, 600))
FROM generate_series(1, %(statuses)s) AS i
JOIN pg_temp.vocabulary AS first ON first.kind = 'sentence' AND first.id = pg_temp.pick(i, 42, %(sentences)s)
JOIN pg_temp.vocabulary AS second ON second.kind = 'sentence' AND second.id = pg_temp.pick(i, 43, %(sentences)s)
JOIN pg_temp.vocabulary AS third ON third.kind = 'sentence' AND third.id = pg_temp.pick(i, 45, %(sentences)s)
ORDER BY i;

-- Reader s follows one reader from each eighth of the others.
INSERT INTO library_follow (user_subject_id, user_object_id, created_date)
SELECT
    1 + mod(i, %(users)s),
    1 + mod(mod(i, %(users)s) + 1 + (i / %(users)s) * (%(users)s / 8) + pg_temp.pick(i, 55, %(users)s / 8 - 1), %(users)s),
    %(as_of)s::timestamptz - make_interval(mins => pg_temp.pick(i, 56, 2000000))
FROM generate_series(0, %(follows)s - 1) AS i;

INSERT INTO library_notification (
    user_id, related_user_id, related_status_id, notification_type, read, created_date
)
SELECT
    1 + pg_temp.pick_popular(i, 57, %(users)s),
    1 + pg_temp.pick(i, 58, %(users)s),
    CASE WHEN pg_temp.pick(i, 59, 10) < 8 THEN 1 + pg_temp.pick(i, 60, %(statuses)s) END,
    (ARRAY['FAVORITE', 'REPLY', 'MENTION', 'BOOST', 'FOLLOW'])[1 + pg_temp.pick(i, 61, 5)],
    pg_temp.pick(i, 62, 10) < 8,
    %(as_of)s::timestamptz - make_interval(secs => (%(notifications)s - i) * 300)
FROM generate_series(1, %(notifications)s) AS i;

-- Every status is liked by one reader. The last favorites point beyond the newest status: orphans,
-- from a time when no foreign key stood in the way.
INSERT INTO library_favorite (user_id, status_id, created_date)
SELECT
    1 + pg_temp.pick(i, 63, %(users)s),
    CASE WHEN i > %(favorites)s - %(orphans)s THEN %(statuses)s + 1000 + i ELSE i END,
    %(as_of)s::timestamptz - make_interval(secs => (%(favorites)s - i) * 900)
FROM generate_series(1, %(favorites)s) AS i;

INSERT INTO library_importjob (user_id, source, complete, created_date)
SELECT
    1 + pg_temp.pick(i, 65, %(users)s),
    (ARRAY['Goodreads', 'LibraryThing', 'Storygraph', 'Calibre'])[1 + pg_temp.pick(i, 66, 4)],
    pg_temp.pick(i, 67, 20) > 0,
    %(as_of)s::timestamptz - make_interval(hours => pg_temp.pick(i, 68, 9000))
FROM generate_series(1, %(importjobs)s) AS i;

-- Imports run side by side: rows of all jobs lie mixed on the pages.
INSERT INTO library_importitem (job_id, edition_id, row_number, data, fail_reason, updated_date)
SELECT
    1 + mod(i, %(importjobs)s),
    CASE WHEN pg_temp.pick(i, 69, 10) > 0 THEN 1 + pg_temp.pick(i, 70, %(editions)s) END,
    i / %(importjobs)s,
    jsonb_build_object(
        'title', title.text,
        'isbn13', '9783' || lpad(pg_temp.pick(i, 72, 1000000000)::text, 9, '0'),
        'shelf', 'to-read',
        'date_added', (%(as_of)s::timestamptz - make_interval(days => pg_temp.pick(i, 73, 3000)))::date,
        'review', sentence.text
    ),
    CASE WHEN pg_temp.pick(i, 69, 10) = 0 THEN 'Could not find a match for book' END,
    %(as_of)s::timestamptz - make_interval(mins => pg_temp.pick(i, 75, 500000))
FROM generate_series(1, %(importitems)s) AS i
JOIN pg_temp.vocabulary AS title ON title.kind = 'title' AND title.id = pg_temp.pick(i, 71, %(titles)s)
JOIN pg_temp.vocabulary AS sentence ON sentence.kind = 'sentence' AND sentence.id = pg_temp.pick(i, 74, %(sentences)s)
ORDER BY i;

INSERT INTO library_session (session_key, session_data, expire_date)
SELECT
    left(md5(format('session-%%s-%%s', %(seed)s, i)) || md5(i::text), 40),
    repeat(md5(format('data-%%s', i)), 4) || ':' || i,
    %(as_of)s::timestamptz + make_interval(hours => pg_temp.pick(i, 76, 8760) - 6570)
FROM generate_series(1, %(sessions)s) AS i;

INSERT INTO library_activity (actor_id, activity_type, object_uri, received_date)
SELECT
    1 + pg_temp.pick_popular(i, 77, %(users)s),
    (ARRAY['Create', 'Announce', 'Like', 'Follow', 'Update', 'Delete'])[1 + pg_temp.pick(i, 78, 6)],
    format('https://remote.example/activity/%%s', md5(i::text)),
    %(as_of)s::timestamptz - make_interval(secs => (2 * %(activities)s - i) * 60)
FROM generate_series(1, %(activities)s) AS i;
