"""Whether a better action that is added late gets its chance, and how soon."""
