"""VACUUM FULL: giving free space inside tables back to the disk, at the price of an exclusive lock."""
