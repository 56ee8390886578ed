-- Keys, constraints and indexes, built over the loaded rows.

ALTER TABLE library_sitesettings ADD PRIMARY KEY (id);

ALTER TABLE library_user ADD PRIMARY KEY (id);
ALTER TABLE library_user ADD UNIQUE (username);
-- Django's twin of a unique text column: another operator class, so no duplicate.
CREATE INDEX library_user_username_like ON library_user (username varchar_pattern_ops);
CREATE INDEX library_user_last_active_idx ON library_user (last_active_date);
CREATE INDEX library_user_timezone_email_idx ON library_user (preferred_timezone, email);

ALTER TABLE library_author ADD PRIMARY KEY (id);
CREATE INDEX library_author_name_idx ON library_author (name);
-- Never scanned, yet the planner reads its statistics for any filter on lower(name).
CREATE INDEX library_author_lower_name_idx ON library_author (lower(name));

ALTER TABLE library_work ADD PRIMARY KEY (id);
CREATE INDEX library_work_sort_title_idx ON library_work (sort_title, created_date);

ALTER TABLE library_work_authors ADD PRIMARY KEY (id);
ALTER TABLE library_work_authors ADD UNIQUE (work_id, author_id);
CREATE INDEX library_work_authors_author_id_idx ON library_work_authors (author_id);
ALTER TABLE library_work_authors
    ADD CONSTRAINT library_work_authors_work_id_fk FOREIGN KEY (work_id) REFERENCES library_work,
    ADD CONSTRAINT library_work_authors_author_id_fk FOREIGN KEY (author_id) REFERENCES library_author;

ALTER TABLE library_edition ADD PRIMARY KEY (id);
CREATE INDEX library_edition_work_id_idx ON library_edition (work_id);
CREATE INDEX library_edition_goodreads_year_idx ON library_edition (goodreads_key, published_year);
CREATE INDEX library_edition_origin_idx ON library_edition (origin_id);
CREATE INDEX library_edition_title_search
    ON library_edition USING gin (to_tsvector('simple', title));
ALTER TABLE library_edition
    ADD CONSTRAINT library_edition_work_id_fk FOREIGN KEY (work_id) REFERENCES library_work;

ALTER TABLE library_shelf ADD PRIMARY KEY (id);
ALTER TABLE library_shelf ADD UNIQUE (user_id, identifier);
CREATE INDEX library_shelf_user_id_idx ON library_shelf (user_id);
CREATE INDEX library_shelf_created_idx ON library_shelf (created_date);
ALTER TABLE library_shelf CLUSTER ON library_shelf_created_idx;
ALTER TABLE library_shelf
    ADD CONSTRAINT library_shelf_user_id_fk FOREIGN KEY (user_id) REFERENCES library_user;

ALTER TABLE library_shelfbook ADD PRIMARY KEY (id);
ALTER TABLE library_shelfbook ADD UNIQUE (edition_id, shelf_id);
CREATE INDEX library_shelfbook_shelf_id_idx ON library_shelfbook (shelf_id);
-- The only index behind its foreign key: no query uses it, deleting a user would.
CREATE INDEX library_shelfbook_user_id_idx ON library_shelfbook (user_id);
CREATE INDEX library_shelfbook_shelved_date_idx ON library_shelfbook (shelved_date);
ALTER TABLE library_shelfbook
    ADD CONSTRAINT library_shelfbook_user_id_fk FOREIGN KEY (user_id) REFERENCES library_user,
    ADD CONSTRAINT library_shelfbook_shelf_id_fk FOREIGN KEY (shelf_id) REFERENCES library_shelf,
    ADD CONSTRAINT library_shelfbook_edition_id_fk FOREIGN KEY (edition_id) REFERENCES library_edition;

ALTER TABLE library_status ADD PRIMARY KEY (id);
CREATE INDEX library_status_user_published_idx ON library_status (user_id, published_date DESC);
CREATE INDEX library_status_user_id_idx ON library_status (user_id);
CREATE INDEX library_status_edition_id_idx ON library_status (edition_id);
CREATE INDEX library_status_reply_parent_id_idx ON library_status (reply_parent_id);
CREATE INDEX library_status_thread_id_idx ON library_status (thread_id);
CREATE INDEX library_status_published_date_idx ON library_status (published_date);
CREATE INDEX library_status_remote_id_idx ON library_status (remote_id, privacy);
ALTER TABLE library_status
    ADD CONSTRAINT library_status_user_id_fk FOREIGN KEY (user_id) REFERENCES library_user,
    ADD CONSTRAINT library_status_edition_id_fk FOREIGN KEY (edition_id) REFERENCES library_edition,
    ADD CONSTRAINT library_status_reply_parent_id_fk FOREIGN KEY (reply_parent_id) REFERENCES library_status;

ALTER TABLE library_follow ADD PRIMARY KEY (id);
ALTER TABLE library_follow ADD UNIQUE (user_subject_id, user_object_id);
CREATE INDEX library_follow_user_object_id_idx ON library_follow (user_object_id);
-- Two migrations, one index: an exact duplicate.
CREATE INDEX library_follow_object_idx ON library_follow (user_object_id);
ALTER TABLE library_follow
    ADD CONSTRAINT library_follow_user_subject_id_fk FOREIGN KEY (user_subject_id) REFERENCES library_user,
    ADD CONSTRAINT library_follow_user_object_id_fk FOREIGN KEY (user_object_id) REFERENCES library_user;

-- related_status_id has a foreign key and no index behind it.
ALTER TABLE library_notification ADD PRIMARY KEY (id);
CREATE INDEX library_notification_user_read_idx ON library_notification (user_id, read, created_date);
CREATE INDEX library_notification_related_user_idx ON library_notification (related_user_id);
ALTER TABLE library_notification
    ADD CONSTRAINT library_notification_user_id_fk FOREIGN KEY (user_id) REFERENCES library_user,
    ADD CONSTRAINT library_notification_related_user_id_fk FOREIGN KEY (related_user_id) REFERENCES library_user,
    ADD CONSTRAINT library_notification_related_status_id_fk
        FOREIGN KEY (related_status_id) REFERENCES library_status;

ALTER TABLE library_favorite ADD PRIMARY KEY (id);
ALTER TABLE library_favorite ADD UNIQUE (user_id, status_id);
ALTER TABLE library_favorite REPLICA IDENTITY USING INDEX library_favorite_user_id_status_id_key;
CREATE INDEX library_favorite_status_id_idx ON library_favorite (status_id);
ALTER TABLE library_favorite
    ADD CONSTRAINT library_favorite_user_id_fk FOREIGN KEY (user_id) REFERENCES library_user;
-- Added in a hurry over rows that break it, and never validated.
ALTER TABLE library_favorite
    ADD CONSTRAINT library_favorite_status_id_fk
        FOREIGN KEY (status_id) REFERENCES library_status NOT VALID;

ALTER TABLE library_importjob ADD PRIMARY KEY (id);
CREATE INDEX library_importjob_user_id_idx ON library_importjob (user_id);
ALTER TABLE library_importjob
    ADD CONSTRAINT library_importjob_user_id_fk FOREIGN KEY (user_id) REFERENCES library_user;

ALTER TABLE library_importitem ADD PRIMARY KEY (id);
CREATE INDEX library_importitem_job_id_idx ON library_importitem (job_id);
CREATE INDEX library_importitem_edition_id_idx ON library_importitem (edition_id);
ALTER TABLE library_importitem
    ADD CONSTRAINT library_importitem_job_id_fk FOREIGN KEY (job_id) REFERENCES library_importjob,
    ADD CONSTRAINT library_importitem_edition_id_fk FOREIGN KEY (edition_id) REFERENCES library_edition;

ALTER TABLE library_session ADD PRIMARY KEY (session_key);
CREATE INDEX library_session_expire_date_idx ON library_session (expire_date);

ALTER TABLE library_activity ADD PRIMARY KEY (id);
CREATE INDEX library_activity_actor_id_idx ON library_activity (actor_id);
CREATE INDEX library_activity_received_date_idx ON library_activity (received_date);
ALTER TABLE library_activity
    ADD CONSTRAINT library_activity_actor_id_fk FOREIGN KEY (actor_id) REFERENCES library_user;
