-- Personal fields of customers, encrypted, and what an address is found by.

ALTER TABLE stripe_customers
    ADD COLUMN phone text COLLATE "C",
    ADD COLUMN email_index text COLLATE "C";
CREATE INDEX stripe_customers_by_email ON stripe_customers (email_index, created_at, stripe_customer_id);
