"""`credit-payments demo`: a shop and a Stripe as processes of their own, and customers who buy.

`run` puts it on: `children` starts and ends the processes (`shop_app`, `stripe_app`), `steps` are
what the customers do through the `stage`'s HTTP, `evidence` collects what Stripe and the shop's
database say afterwards, `checks` holds the two against each other, `report` prints it.
"""
