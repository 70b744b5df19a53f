"""Running a flow: processes, recovery stores, starts from the store."""
