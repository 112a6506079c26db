-- Personal fields of customers, encrypted, and what an address is found by.

ALTER TABLE stripe_customers ADD COLUMN phone TEXT;
ALTER TABLE stripe_customers ADD COLUMN email_index TEXT;
CREATE INDEX stripe_customers_by_email_index_created_at_stripe_customer_id ON stripe_customers (email_index, created_at, stripe_customer_id);
