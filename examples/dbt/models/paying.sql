select account_id, country, monthly_fee from {{ ref('accounts') }} where monthly_fee is not null
