"""What all platforms beyond this machine share: jobs by a vendor's driver, what travels with them, and what runs inside."""
